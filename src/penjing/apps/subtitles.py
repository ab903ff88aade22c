"""Segments of speech as subtitles: SubRip and WebVTT."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from penjing.runtimes.speech import Segment

MILLISECONDS = 1000


def as_text(segments: Sequence[Segment]) -> str:
    """A line per segment."""
    return "".join(f"{part.text}\n" for part in segments if part.text)


def as_srt(segments: Sequence[Segment]) -> str:
    """SubRip: numbered blocks with a comma before the milliseconds."""
    spoken = [part for part in segments if part.text]
    return "".join(
        f"{number}\n{_clock(part.start_s, ',')} --> {_clock(part.end_s, ',')}\n{_one_block(part.text)}\n\n"
        for number, part in enumerate(spoken, 1)
    )


def as_vtt(segments: Sequence[Segment]) -> str:
    """WebVTT; what it would read as markup is escaped (https://www.w3.org/TR/webvtt1, section 4.2)."""
    blocks = [
        f"{_clock(part.start_s, '.')} --> {_clock(part.end_s, '.')}\n{_escaped(_one_block(part.text))}\n"
        for part in segments
        if part.text
    ]
    return "\n".join(["WEBVTT\n", *blocks])


WRITERS: Mapping[str, Callable[[Sequence[Segment]], str]] = {"text": as_text, "srt": as_srt, "vtt": as_vtt}
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
