"""Has a file changed since it was read? What was made of files is remembered by what the system says of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

SETTLED_NS = 2_000_000_000
"""Coarsest clock of a file system that is in use (FAT)."""

Made = TypeVar("Made")


class Stamp(NamedTuple):
    """What the system says of a file: it changes whenever the content does."""

    device: int
    inode: int
    size_bytes: int
    modified_ns: int
    changed_ns: int

    @classmethod
    def of(cls, path: Path) -> Stamp:
        """The stamp of a file, links followed."""
        status = path.stat()
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)

    @property
    def has_settled(self) -> bool:
        """Whether the last change is so long ago that another one would show (git calls younger entries racy)."""
        return max(self.modified_ns, self.changed_ns) + SETTLED_NS < time.time_ns()


class Memo(Generic[Made]):
    """What was made of files, for as long as this process runs; files that changed meanwhile are read again.

    A file younger than two seconds is not remembered: it could be changed once more without its times telling. What is
    made of no file at all is not, either.
    """

    def __init__(self) -> None:
        self.made: dict[tuple[Stamp, ...], Made] = {}

    def get(self, paths: Sequence[Path], make: Callable[[], Made]) -> Made:
        """Return what `make` returned for these files, in this order; it is called where they are new or changed."""
        stamps = tuple(Stamp.of(path) for path in paths)
        if stamps in self.made:
            return self.made[stamps]
        settled, result = bool(stamps) and all(stamp.has_settled for stamp in stamps), make()
        if settled and tuple(Stamp.of(path) for path in paths) == stamps:
            self.made[stamps] = result
        return result
