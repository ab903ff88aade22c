"""Speech recognition on files: any rate, any length, one result per file."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from penjing.data.audio import audio_length, decode_audio
from penjing.data.formats import ignored_note, is_readable, media_of
from penjing.data.paths import list_files
from penjing.errors import ArtifactError, DataError
from penjing.runtimes.transcription import SPEECH_FILTER, Segment, SpeechFilter, Transcription

HEARING = ("speech-seq2seq", "multimodal")
"""Tasks whose runners transcribe."""

SOUND_HINT = "wav, flac, ogg, mp3, m4a or webm"


@dataclass(frozen=True, slots=True)
class Transcript(Transcription):
    """One file's text. `seconds` is the wall time from opening the file to its text, the model already loaded."""

    file: str
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """Return one entry of `transcribe --json`."""
        segments = [segment_as_json(part) for part in self.segments]
        return {
            "file": self.file,
            "text": self.text,
            "language": self.language,
            "seconds": self.seconds,
            "audio_seconds": self.audio_seconds,
            "segments": segments,
        }


def segment_as_json(segment: Segment) -> dict[str, Any]:
    """Start and end in seconds, the text, and the language where the model knows several."""
    language = {} if segment.language is None else {"language": segment.language}
    return {"start": segment.start_s, "end": segment.end_s, "text": segment.text, **language}


def sound_files(names: Sequence[str]) -> list[str]:
    """The files among these names, and in the folders among them all sounds, however deep, by name."""
    found: list[str] = []
    for name in names:
        if not Path(name).is_dir():
            found.append(name)
            continue
        inside = [str(path) for path in list_files(Path(name)).files if _is_sound(path)]
        if not inside:
            raise DataError(f"{name} holds no sound files", hint=ignored_sounds([name]) or SOUND_HINT)
        found += inside
    return found


def ignored_sounds(names: Sequence[str]) -> str | None:
    """What of the folders among these names is not heard, in one line; None where they hold nothing else."""
    files: list[Path] = []
    outside: list[Path] = []
    closed: list[Path] = []
    for name in names:
        if Path(name).is_dir():
            listing = list_files(Path(name))
            files += [path for path in listing.files if not _is_sound(path)]
            outside += listing.outside
            closed += listing.closed
    return ignored_note(files, outside, closed)


def _is_sound(path: Path) -> bool:
    return media_of(path) == "audio" and is_readable(path)


def check_file(name: str) -> None:
    """Refuse what is missing or no sound before the model is loaded; a header that can be read is believed."""
    if not Path(name).is_file():
        raise DataError(f"{name} is not a file", hint=f"give sound files: {SOUND_HINT}")
    if audio_length(name)[0] < 1:
        decode_audio(name)


def sorted_out(files: Sequence[str]) -> tuple[list[str], dict[str, DataError]]:
    """Files that can be heard, and why others cannot; if none can or one is missing, the reason is raised."""
    heard, faults = [], {}
    for name in files:
        try:
            check_file(name)
            heard.append(name)
        except DataError as error:
            if not Path(name).is_file():
                raise
            faults[name] = error
    if not heard:
        raise next(iter(faults.values()))
    return heard, faults


def warm_up(runner: Any, files: Sequence[str]) -> None:
    """Let the engine see the lengths that these files need before the clock starts."""
    lengths = [audio_length(name) for name in files]
    runner.warm_up([min(count / max(rate_hz, 1), runner.longest_s) for count, rate_hz in lengths])


def check_hears(runner: Any) -> None:
    """Refuse an artifact of a task that hears nothing."""
    if runner.task not in HEARING:
        raise ArtifactError(f"this artifact does {runner.task}, not speech recognition", hint="give a Whisper artifact")


def transcribe_files(
    runners: Sequence[Any],
    files: Sequence[str],
    language: str | None = None,
    *,
    times: bool = False,
    speech_filter: SpeechFilter = SPEECH_FILTER,
    faults: dict[str, DataError] | None = None,
) -> Iterator[Transcript]:
    """Transcribe files in order, as many at a time as there are runners of the same artifact.

    With `times` in phrases, where the model can tell when they are said. What cannot be heard is put into `faults`
    where they are given, else raised.
    """
    for runner in runners:
        check_hears(runner)
        runner.check_language(language)
    free: SimpleQueue[Any] = SimpleQueue()
    for runner in runners:
        free.put(runner)

    def heard(name: str) -> Transcript:
        runner = free.get()
        try:
            return transcribe_file(runner, name, language, times=times, speech_filter=speech_filter)
        finally:
            free.put(runner)

    pool = ThreadPoolExecutor(len(runners))
    try:
        for name, waited in [(name, pool.submit(heard, name)) for name in files]:
            try:
                yield waited.result()
            except DataError as error:
                if faults is None:
                    raise
                faults[name] = error
    finally:
        pool.shutdown(cancel_futures=True)


def transcribe_file(
    runner: Any,
    name: str,
    language: str | None = None,
    *,
    times: bool = False,
    speech_filter: SpeechFilter = SPEECH_FILTER,
) -> Transcript:
    """Read and transcribe a file, and take the time of both."""
    start = time.perf_counter()
    phrases = {"times": True} if times else {}  # some runners cannot tell any
    found = runner.transcribe(name, language, speech_filter=speech_filter, **phrases)
    seconds = time.perf_counter() - start
    return Transcript(found.text, found.language, found.audio_seconds, found.segments, name, seconds)
