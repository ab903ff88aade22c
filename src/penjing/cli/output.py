"""What the commands print: documents on stdout, everything else on stderr."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from time import perf_counter
from typing import TYPE_CHECKING, Any

from penjing.values import DETAIL

if TYPE_CHECKING:
    from penjing.values import Tell

REPEAT_S = 30.0
"""Where nobody looks, a stage that takes long says so often how far it is."""


def say(text: str) -> None:
    """Print to stderr."""
    print(text, file=sys.stderr, flush=True)


def show(piece: str) -> None:
    """Print a piece of a text to stdout as soon as it is there."""
    print(piece, end="", flush=True)


def fitted(text: str, columns: int, *, end: bool = False) -> str:
    """A text in one line of a terminal of so many columns: its beginning, or its end."""
    from rich.cells import cell_len

    line = " ".join(text.split())
    if cell_len(line) <= columns:
        return line
    count, free = 0, columns - 1
    for letter in reversed(line) if end else line:
        free -= cell_len(letter)
        if free < 0:
            break
        count += 1
    return f"…{line[len(line) - count :]}" if end else f"{line[:count]}…"


def say_json(document: Any) -> None:
    """Print one JSON document to stdout."""
    print(json.dumps(document, indent=2, ensure_ascii=False), flush=True)


@contextlib.contextmanager
def progress() -> Iterator[Tell]:
    """Show what is being done on stderr: bars on a terminal, one line per stage elsewhere."""
    with _bars() if sys.stderr.isatty() else contextlib.nullcontext(_lines()) as tell:
        yield tell


def _lines() -> Tell:
    """One line when a stage begins, and one every half minute that it lasts, with the seconds since the start."""
    start = perf_counter()
    told: dict[str, float] = {}

    def tell(what: str, done: int, total: int) -> None:
        stage, now = what.partition(DETAIL)[0], perf_counter() - start
        begins = stage not in told
        if begins or (total and now - told[stage] >= REPEAT_S):
            told[stage] = now
            say(f"[{now:6.1f} s] {' '.join(what.split())}" + ("" if begins else f" ({done} of {total})"))

    return tell


@contextlib.contextmanager
def _bars() -> Iterator[Tell]:
    """One bar per stage; a stage is finished when the next one begins."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=False) as bars:
        tasks: dict[str, Any] = {}

        def finish() -> None:
            for task in bars.tasks:
                bars.update(task.id, total=task.total or 1, completed=task.total or 1)

        def tell(what: str, done: int, total: int) -> None:
            stage = what.partition(DETAIL)[0]
            if stage not in tasks:
                finish()
                tasks[stage] = bars.add_task(what, total=total or None)
            bars.update(tasks[stage], description=what, completed=done, total=total or None)

        yield tell
        finish()
