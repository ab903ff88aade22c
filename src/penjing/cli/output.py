"""What the commands print: documents on stdout, everything else on stderr."""

from __future__ import annotations

import contextlib
import json
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from penjing import Tell


def say(text: str) -> None:
    """Print to stderr."""
    print(text, file=sys.stderr, flush=True)


def say_json(document: Any) -> None:
    """Print one JSON document to stdout."""
    print(json.dumps(document, indent=2, ensure_ascii=False), flush=True)


@contextlib.contextmanager
def progress() -> Iterator[Tell]:
    """Show what is being done on stderr: bars on a terminal, one line per stage elsewhere."""
    with _interruptions() as check, _bars() if sys.stderr.isatty() else contextlib.nullcontext(_lines()) as show:

        def tell(what: str, done: int, total: int) -> None:
            check()
            show(what, done, total)

        yield tell


@contextlib.contextmanager
def _interruptions() -> Iterator[Callable[[], None]]:
    """Remember a Ctrl-C, and raise it again when asked: exporters run code that now and then swallows the first."""
    came: list[int] = []

    def remember(number: int, frame: FrameType | None) -> None:
        came.append(number)
        signal.default_int_handler(number, frame)

    def check() -> None:
        if came:
            raise KeyboardInterrupt

    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or before is not signal.default_int_handler:
        yield check  # whoever calls us handles interruptions already
        return
    signal.signal(signal.SIGINT, remember)
    try:
        yield check
    finally:
        signal.signal(signal.SIGINT, before)


def _lines() -> Tell:
    """One line when a stage begins, with the seconds since the start."""
    start, seen = time.perf_counter(), set[str]()

    def tell(what: str, done: int, total: int) -> None:
        if what not in seen:
            seen.add(what)
            say(f"[{time.perf_counter() - start:6.1f} s] {what}")

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
            if what not in tasks:
                finish()
                tasks[what] = bars.add_task(what, total=total or None)
            bars.update(tasks[what], completed=done, total=total or None)

        yield tell
        finish()
