"""Files that an index is made of: found below folders, told apart by their ending, known by size and time."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from penjing.data.folder import METADATA
from penjing.data.knowledge import TABLES, TEXTS
from penjing.data.rows import media_of
from penjing.errors import DataError

Kind = Literal["image", "audio", "text"]


@dataclass(frozen=True, slots=True)
class Found:
    """A file as it is now."""

    path: str
    kind: Kind
    size_bytes: int
    modified_ns: int


def kind_of(name: str | Path) -> Kind | None:
    """Tell picture, sound and text by the ending of a file name; None for anything else."""
    return media_of(name) or ("text" if Path(name).suffix.lower() in (*TEXTS, *TABLES) else None)


def find_files(places: Sequence[str | Path], kinds: Set[str], *, known: bool = False) -> dict[str, Found]:
    """All files of these kinds below folders, and files that are named themselves, by absolute path and in order.

    What is hidden is left out, and so are folders that may not be read and tables of metadata. A place that is not
    there, or one without any such file, is a DataError, unless it is `known`: then it has nothing any more.
    """
    found: dict[str, Found] = {}
    for place in places:
        inside = [] if known and not Path(place).exists() else [*_below(Path(place), kinds)]
        if not inside and not known:
            raise DataError(f"{place} holds nothing to index", hint=f"this model reads {' and '.join(sorted(kinds))}")
        found |= {one.path: one for one in inside}
    return dict(sorted(found.items()))


def _below(place: Path, kinds: Set[str]) -> Iterator[Found]:
    if not place.exists():
        raise DataError(f"{place} is not there", hint="give folders or files")
    if place.is_file():
        yield from _described(place, kinds)
        return
    for folder, folders, names in os.walk(place, followlinks=False):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith("."):
                yield from _described(Path(folder) / name, kinds)


def _described(path: Path, kinds: Set[str]) -> Iterator[Found]:
    kind = kind_of(path)
    if kind not in kinds or kind is None or path.name in METADATA:
        return
    try:
        about = path.stat()
    except OSError:  # gone, or a link to nowhere
        return
    if path.is_file():
        name = os.path.abspath(path).encode("utf8", "backslashreplace").decode()  # a name may be bytes that are no text
        yield Found(name, kind, about.st_size, about.st_mtime_ns)
