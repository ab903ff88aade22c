"""Segments of speech as subtitles: SubRip and WebVTT."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from penjing.runtimes.transcription import Segment

MILLISECONDS = 1000


Cue = Callable[[int, Segment], str]
"""Takes a number, counted from 1, and a segment."""


def text_cue(number: int, part: Segment) -> str:
    """A line."""
    return f"{part.text}\n"


def srt_cue(number: int, part: Segment) -> str:
    """SubRip: a numbered block with a comma before the milliseconds."""
    return f"{number}\n{_clock(part.start_s, ',')} --> {_clock(part.end_s, ',')}\n{_one_block(part.text)}\n\n"


def vtt_cue(number: int, part: Segment) -> str:
    """WebVTT; what it would read as markup is escaped (https://www.w3.org/TR/webvtt1, section 4.2)."""
    return f"\n{_clock(part.start_s, '.')} --> {_clock(part.end_s, '.')}\n{_escaped(_one_block(part.text))}\n"


CUES: Mapping[str, Cue] = {"text": text_cue, "srt": srt_cue, "vtt": vtt_cue}
"""How one segment is written, of any format."""
HEADS: Mapping[str, str] = {"text": "", "srt": "", "vtt": "WEBVTT\n"}
"""What stands before all segments."""


def _writer(format: str) -> Callable[[Sequence[Segment]], str]:
    def write(segments: Sequence[Segment]) -> str:
        spoken = enumerate((part for part in segments if part.text), 1)
        return HEADS[format] + "".join(CUES[format](number, part) for number, part in spoken)

    return write


WRITERS: Mapping[str, Callable[[Sequence[Segment]], str]] = {format: _writer(format) for format in CUES}
ENDINGS: Mapping[str, str] = {"text": ".txt", "srt": ".srt", "vtt": ".vtt"}


def _clock(seconds: float, comma: str) -> str:
    """Hours, minutes, seconds, milliseconds: 01:02:03,004."""
    rest, milliseconds = divmod(round(seconds * MILLISECONDS), MILLISECONDS)
    minutes, seconds_left = divmod(rest, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{seconds_left:02}{comma}{milliseconds:03}"


def _one_block(text: str) -> str:
    """An empty line would end the block."""
    return " ".join(text.split())


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
