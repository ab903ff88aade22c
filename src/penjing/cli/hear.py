"""`penjing transcribe`: files or a stream in, text or subtitles out."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import penjing
from penjing.apps.listen import listen
from penjing.apps.subtitles import CUES, ENDINGS, HEADS, WRITERS
from penjing.apps.transcribe import (
    Transcript,
    check_hears,
    ignored_sounds,
    segment_as_json,
    sorted_out,
    sound_files,
    transcribe_files,
    warm_up,
)
from penjing.artifact.whole_file import write_whole
from penjing.cli.output import fitted, say, say_json, show
from penjing.errors import DataError, LeftOut, did_you_mean
from penjing.runtimes.engine import available_cores
from penjing.runtimes.transcription import SPEECH_FILTER, Segment, SpeechFilter

ENDED = {**ENDINGS, "json": ".json"}
"""How files of each format end."""
OVER = "\r\033[K"
"""Back to the beginning of the line, and nothing on it."""
NO_TIMES = "this model does not tell when phrases are said: a segment is a whole window"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the command line asks for."""

    artifact: str
    language: str | None
    format: str
    out: str | None
    times: bool
    engine: str
    threads: int | None
    json: bool
    workers: int = 1
    speech_filter: SpeechFilter = SPEECH_FILTER

    def check(self) -> None:
        """Refuse a format that is none."""
        if self.format not in ENDED:
            raise DataError(f"no format called {self.format!r}", hint=did_you_mean(self.format, [*ENDED]))

    def open(self, threads: int | None = None) -> Any:
        """The runner, which must hear; on all threads of the command where no number is given."""
        threads = threads or self.threads or available_cores()
        runner = penjing.load(self.artifact, engine=self.engine, threads=threads, warm_up=False)
        check_hears(runner)
        return runner

    def thread_counts(self, files: int) -> list[int]:
        """Threads of each worker: those of the command, divided among as many workers as there are files for."""
        threads = self.threads or available_cores()
        count = max(1, min(self.workers, files))
        return [max(1, threads // count + (worker < threads % count)) for worker in range(count)]


def hear_files(wanted: Wanted, names: Sequence[str]) -> None:
    """Transcribe files, and show or write what they say one by one."""
    wanted.check()
    files, faults = sorted_out(sound_files(names))
    if (note := ignored_sounds(names)) is not None:
        say(note)
    places = _places(files, wanted)
    runners = [wanted.open(threads) for threads in wanted.thread_counts(len(files))]
    times = wanted.times and runners[0].tells_times
    if wanted.times and not times:
        say(NO_TIMES)
    for runner in runners if len(files) > 1 else ():
        warm_up(runner, files)
    results = []
    for found in transcribe_files(
        runners, files, wanted.language, times=times, speech_filter=wanted.speech_filter, faults=faults
    ):
        results.append(found.as_json())
        if places:
            _write(places[found.file], _written(found, wanted.format))
        elif not wanted.json:
            _show(found, wanted.format, alone=len(files) == 1)
    if faults and not results:
        raise next(iter(faults.values()))
    lost = [{"file": name, "error": error.message} for name, error in faults.items()]
    document = {"results": results, **({"left_out": lost} if lost else {})}
    if faults:
        _tell(faults, document if wanted.json else None)
    if wanted.json:
        say_json(document)


def _tell(faults: Mapping[str, DataError], document: dict[str, Any] | None) -> NoReturn:
    """Name what could not be heard among other sounds, and fail for it when all else is done."""
    for name, error in faults.items():
        say(f"left out: {error.message if name in error.message else f'{name}: {error.message}'}")
    raise LeftOut(f"{len(faults)} of the sounds were left out", hint="they are named above", document=document)


def hear_stream(wanted: Wanted) -> None:
    """Transcribe standard input while it comes: what is settled is written at once, in any format but JSON.

    On a terminal what is not settled yet stands on the last line, as much of it as that holds.
    """
    wanted.check()
    if wanted.out is not None:
        raise DataError("a stream has no name to write its text under", hint="leave -o away and redirect the output")
    runner = wanted.open()
    runner.check_language(wanted.language)
    settled: list[Segment] = []
    watched = wanted.format == "text" and not wanted.json and sys.stdout.isatty()
    stream, speech_filter = sys.stdin.buffer, wanted.speech_filter
    for part in listen(runner, stream, wanted.language, early=watched, speech_filter=speech_filter):
        said = part.segment.text
        if watched:  # one line can be written over, so there must not be two
            show(OVER if part.settled else OVER + fitted(said, shutil.get_terminal_size().columns - 1, end=True))
        if part.settled and said:
            settled.append(part.segment)
            if not wanted.json:
                head = HEADS[wanted.format] if len(settled) == 1 else ""
                show(head + CUES[wanted.format](len(settled), part.segment))
    if wanted.json:
        segments = [segment_as_json(one) for one in settled]
        say_json({"results": [{"file": "-", "text": " ".join(one.text for one in settled), "segments": segments}]})
    elif not settled:
        show(HEADS[wanted.format])


def _places(files: Sequence[str], wanted: Wanted) -> dict[str, Path]:
    """Where the text of each file goes; empty where it is shown."""
    if wanted.out is None:
        if wanted.format != "text" and len(files) > 1 and not wanted.json:
            raise DataError("subtitles of several sounds need a folder", hint="give -o FOLDER")
        return {}
    places = {name: Path(wanted.out) / f"{Path(name).stem}{ENDED[wanted.format]}" for name in files}
    taken: dict[Path, str] = {}
    for name, place in places.items():
        if place in taken:
            raise DataError(f"{taken[place]} and {name} would both become {place}", hint="rename one of them")
        taken[place] = name
    try:
        Path(wanted.out).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"cannot write into {wanted.out}: {error.strerror}", hint="give another -o") from error
    return places


def _written(found: Transcript, format: str) -> str:
    """What a file of one sound holds."""
    if format == "json":
        return json.dumps(found.as_json(), ensure_ascii=False, indent=2) + "\n"
    return WRITERS[format](found.segments)


def _write(place: Path, text: str) -> None:
    """Whole or not at all."""
    try:
        write_whole(place, text.encode())
    except OSError as error:
        raise DataError(f"cannot write {place}: {error.strerror}", hint="give another -o") from error


def _show(found: Transcript, format: str, *, alone: bool) -> None:
    if format != "text":
        print(WRITERS[format](found.segments), end="", flush=True)
    else:
        print(found.text if alone else f"{found.file}: {found.text}", flush=True)
