"""One try of something with damaged input: how it ended, within a time that a person waits for."""

from __future__ import annotations

import contextlib
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from penjing.errors import PenjingError

SEED = int(os.environ.get("PENJING_FUZZ_SEED", "23"))
"""Another one draws other damage."""
LONGEST_CPU_S = 10
LONGEST_WAIT_S = 180
"""Working time alone says nothing of what waits for ever, the clock nothing on a busy machine."""
FINE, REFUSED = 0, 2
"""How an attempt may end: as exit code 0 or 2 of a command would say."""


class Hang(BaseException):
    """An attempt took longer than anybody waits."""


@contextlib.contextmanager
def time_limit() -> Iterator[None]:
    """Raise Hang in a block that works or waits longer; only in the main thread."""

    def stop(number: int, frame: Any) -> None:
        raise Hang

    before = {number: signal.signal(number, stop) for number in (signal.SIGPROF, signal.SIGALRM)}
    signal.setitimer(signal.ITIMER_PROF, LONGEST_CPU_S)
    signal.setitimer(signal.ITIMER_REAL, LONGEST_WAIT_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


class Attempts:
    """How attempts ended, and what is wrong with those that ended otherwise than they may."""

    def __init__(self) -> None:
        self.ends: Counter[int] = Counter()
        self.faults: list[str] = []

    def run(self, label: str, work: Callable[[], object]) -> None:
        """Try it: it must work, or raise an error of exit code 2 in one line with a hint."""
        try:
            with time_limit():
                work()
        except PenjingError as error:
            self.ends[error.exit_code] += 1
            if error.exit_code != REFUSED or not error.hint or "\n" in error.message or len(error.message) > 2000:
                self.faults.append(f"{label}: {error.kind} {error.exit_code}: {error.message[:300]!r}")
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a panic of a Rust library is no Exception
            self.ends[3] += 1
            place = error.__traceback__
            while place is not None and place.tb_next is not None:
                place = place.tb_next
            where = f"{place.tb_frame.f_code.co_filename}:{place.tb_lineno}" if place is not None else ""
            self.faults.append(f"{label}: {type(error).__name__}: {str(error)[:200]!r} at {where}")
        else:
            self.ends[FINE] += 1
