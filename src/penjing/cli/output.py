"""What the commands print: documents on stdout, everything else on stderr."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any


def say(text: str) -> None:
    """Print to stderr."""
    print(text, file=sys.stderr, flush=True)


def say_json(document: Any) -> None:
    """Print one JSON document to stdout."""
    print(json.dumps(document, indent=2, ensure_ascii=False), flush=True)


@contextlib.contextmanager
def progress() -> Iterator[Callable[[str, int, int], None]]:
    """Show what is being done on stderr: bars on a terminal, one line per stage elsewhere."""
    if sys.stderr.isatty():
        with _bars() as tell:
            yield tell
        return
    start, seen = time.perf_counter(), [""]

    def tell(what: str, done: int, total: int) -> None:
        if what != seen[0]:
            seen[0] = what
            say(f"[{time.perf_counter() - start:6.1f} s] {what}")

    yield tell


@contextlib.contextmanager
def _bars() -> Iterator[Callable[[str, int, int], None]]:
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

        def tell(what: str, done: int, total: int) -> None:
            if what not in tasks:
                for name, task in tasks.items():
                    bars.update(task, total=bars.tasks[task].total or 1, completed=bars.tasks[task].total or 1)
                    del name
                tasks[what] = bars.add_task(what, total=total or None)
            bars.update(tasks[what], completed=done, total=total or None)

        yield tell
        for task in tasks.values():
            bars.update(task, total=bars.tasks[task].total or 1, completed=bars.tasks[task].total or 1)
