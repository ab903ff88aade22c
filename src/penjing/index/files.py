"""Files that an index is made of: found below folders, told apart by their ending, known by size and time."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from penjing.data.folder import METADATA
from penjing.data.formats import ignored_note, is_readable, media_of
from penjing.data.knowledge import TABLES, TEXTS
from penjing.data.paths import Listing, list_files
from penjing.errors import DataError

Kind = Literal["image", "audio", "text"]


@dataclass(frozen=True, slots=True)
class Found:
    """A file as it is now; `content` is the sha256 of its bytes, where it was read."""

    path: str
    kind: Kind
    size_bytes: int
    modified_ns: int
    content: str | None = None


def kind_of(name: str | Path) -> Kind | None:
    """Tell picture, sound and text by the ending of a file name; None for anything else."""
    return media_of(name) or ("text" if Path(name).suffix.lower() in (*TEXTS, *TABLES) else None)


@dataclass(frozen=True, slots=True)
class Files:
    """What is below some folders: files to index by absolute path, others, and links that lead out of their folder.

    `absent` are places that are not there: folders of a disk that is not mounted, or that were moved.
    `closed` are folders that may not be read.
    """

    indexed: Mapping[str, Found]
    others: tuple[Path, ...] = ()
    outside: tuple[Path, ...] = ()
    absent: tuple[str, ...] = ()
    closed: tuple[Path, ...] = ()


def find_files(places: Sequence[str | Path], kinds: Set[str], *, known: bool = False) -> Files:
    """All files of these kinds below folders, and files that are named themselves, in the order of their paths.

    What is hidden is left out, and so are tables of metadata. A place that is not there, or one without any such file,
    is a DataError, unless it is `known`: then it may be a disk that is not mounted.
    """
    indexed: dict[str, Found] = {}
    others: list[Path] = []
    outside: list[Path] = []
    closed: list[Path] = []
    absent: list[str] = []
    for place in places:
        if not Path(place).exists():
            if not known:
                raise DataError(f"{place} is not there", hint="give folders or files")
            absent.append(str(place))
            continue
        listing = list_files(Path(place)) if Path(place).is_dir() else Listing([Path(place)])
        files = {path: described for path in listing.files if (described := _described(path, kinds)) is not None}
        if not files and not known:
            note = ignored_note(listing.files, listing.outside, listing.closed)
            hint = f"this model reads {' and '.join(sorted(kinds))}"
            raise DataError(f"{place} holds nothing to index", hint=f"{hint}; {note}" if note else hint)
        indexed |= {described.path: described for described in files.values()}
        others += [path for path in listing.files if path not in files and path.name not in METADATA]
        outside += listing.outside
        closed += listing.closed
    return Files(dict(sorted(indexed.items())), tuple(others), tuple(outside), tuple(absent), tuple(closed))


def _described(path: Path, kinds: Set[str]) -> Found | None:
    kind = kind_of(path)
    if kind not in kinds or kind is None or path.name in METADATA or not is_readable(path):
        return None
    try:
        about = path.stat()
    except OSError:  # gone, or a link to nowhere
        return None
    name = os.path.abspath(path).encode("utf8", "backslashreplace").decode()  # a name may be bytes that are no text
    return Found(name, kind, about.st_size, about.st_mtime_ns)


def content_hash(path: str | Path) -> str | None:
    """sha256 of a file's bytes; None where it cannot be opened."""
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, ValueError):
        return None
