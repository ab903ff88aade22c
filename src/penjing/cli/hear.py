"""`penjing transcribe`: files or a stream in, text or subtitles out."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import penjing
from penjing.apps.listen import listen
from penjing.apps.subtitles import ENDINGS, WRITERS
from penjing.apps.transcribe import Transcript, check_files, check_hears, sound_files, transcribe_files, warm_up
from penjing.cli.output import say, say_json
from penjing.errors import DataError, did_you_mean

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

    def check(self) -> None:
        """Refuse a format that is none."""
        if self.format not in WRITERS:
            raise DataError(f"no format called {self.format!r}", hint=did_you_mean(self.format, [*WRITERS]))

    def open(self) -> Any:
        """The runner, which must hear."""
        runner = penjing.load(self.artifact, engine=self.engine, threads=self.threads, warm_up=False)
        check_hears(runner)
        return runner


def hear_files(wanted: Wanted, names: Sequence[str]) -> None:
    """Transcribe files, and show or write what they say one by one."""
    wanted.check()
    files = sound_files(names)
    check_files(files)
    places = _places(files, wanted)
    runner = wanted.open()
    times = wanted.times and runner.tells_times
    if wanted.times and not times:
        say(NO_TIMES)
    if len(files) > 1:
        warm_up(runner, files)
    results = []
    for found in transcribe_files(runner, files, wanted.language, times=times):
        results.append(found.as_json())
        if places:
            _write(places[found.file], WRITERS[wanted.format](found.segments))
        elif not wanted.json:
            _show(found, wanted.format, alone=len(files) == 1)
    if wanted.json:
        say_json({"results": results})


def hear_stream(wanted: Wanted) -> None:
    """Transcribe standard input while it comes; on a terminal what is not settled yet stands on the last line."""
    wanted.check()
    if wanted.out is not None:
        raise DataError("a stream has no name to write its text under", hint="leave -o away and redirect the output")
    runner = wanted.open()
    runner.check_language(wanted.language)
    settled = []
    shown = wanted.format == "text" and not wanted.json
    watched = shown and sys.stdout.isatty()
    for part in listen(runner, sys.stdin.buffer, wanted.language, early=watched):
        if part.settled:
            settled.append(part.segment)
        if shown:
            over = "\r\033[K" if watched else ""
            print(f"{over}{part.segment.text}", end="\n" if part.settled else "", flush=True)
    if wanted.json:
        segments = [{"start": one.start_s, "end": one.end_s, "text": one.text} for one in settled]
        say_json({"results": [{"file": "-", "text": " ".join(one.text for one in settled), "segments": segments}]})
    elif wanted.format != "text":
        print(WRITERS[wanted.format](settled), end="")


def _places(files: Sequence[str], wanted: Wanted) -> dict[str, Path]:
    """Where the text of each file goes; empty where it is shown."""
    if wanted.out is None:
        if wanted.format != "text" and len(files) > 1 and not wanted.json:
            raise DataError("subtitles of several sounds need a folder", hint="give -o FOLDER")
        return {}
    places = {name: Path(wanted.out) / f"{Path(name).stem}{ENDINGS[wanted.format]}" for name in files}
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


def _write(place: Path, text: str) -> None:
    """Whole or not at all."""
    partial = place.with_name(place.name + ".partial")
    try:
        partial.write_text(text, encoding="utf8")
        partial.replace(place)
    except OSError as error:
        raise DataError(f"cannot write {place}: {error.strerror}", hint="give another -o") from error


def _show(found: Transcript, format: str, *, alone: bool) -> None:
    if format != "text":
        print(WRITERS[format](found.segments), end="", flush=True)
    else:
        print(found.text if alone else f"{found.file}: {found.text}", flush=True)
