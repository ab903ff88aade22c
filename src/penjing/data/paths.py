"""Paths that a file of the user's data names or that a folder lists: none of them may lead out of the folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath

from penjing.errors import DataError

SNAPSHOTS, BLOBS = "snapshots", "blobs"
"""Folders of a repository in the cache of huggingface_hub: files of a snapshot are links into `blobs`."""
OUTSIDE_HINT = "give a path relative to the folder; put the file itself there, not a link to it"


def resolve_inside(folder: Path, name: object, source: str) -> Path:
    """Return the path of a file that data names relative to its folder.

    The one check for rows of every format, knowledge documents, and files that a folder lists.

    Args:
        folder: the folder that the name is relative to.
        name: a relative POSIX path.
        source: where the name is written (`metadata.jsonl, line 3`), for the message.

    Raises:
        DataError: the name is no relative path, has a `..`, or leads out of the folder through a link.
    """
    if not isinstance(name, str) or not name:
        raise DataError(f"{source}: {name!r:.80} is not a file name", hint="give a path relative to the folder")
    relative = PurePosixPath(name)
    is_absolute = relative.is_absolute() or bool(PureWindowsPath(name).drive)
    path = folder / relative
    if is_absolute or ".." in relative.parts or "\0" in name or not is_inside(path, folder):
        raise DataError(f"{source}: {name:.200} is outside of the folder", hint=OUTSIDE_HINT)
    return path


def is_inside(path: Path, folder: Path) -> bool:
    """Return whether a path stays within a folder once all links are followed.

    A snapshot in the cache of huggingface_hub is one folder with the `blobs` that its links lead to.
    """
    try:
        target = path.resolve()
    except (OSError, RuntimeError, ValueError):  # a circle of links
        return False
    return any(target.is_relative_to(root) for root in _roots(folder.resolve()))


def _roots(folder: Path) -> Iterator[Path]:
    yield folder
    for parent in (folder, *folder.parents):
        if parent.parent.name == SNAPSHOTS and (parent.parent.parent / BLOBS).is_dir():
            yield parent.parent.parent / BLOBS


@dataclass(slots=True)
class Listing:
    """Files below a folder, in order, links in it that lead out of it, and folders in it that may not be read."""

    files: list[Path] = field(default_factory=list)
    outside: list[Path] = field(default_factory=list)
    closed: list[Path] = field(default_factory=list)

    def check_open(self) -> None:
        """Refuse a listing that lacks what is in a closed folder.

        Raises:
            DataError: a folder may not be read.
        """
        if self.closed:
            raise DataError(f"{self.closed[0]} may not be read", hint="check the permissions of the folder")


def list_files(folder: Path) -> Listing:
    """List all files below a folder; hidden ones do not count, and links out of the folder are not followed.

    A link to another folder inside is not followed either: its files are listed where they are.
    """
    listing = Listing()

    def closed(error: OSError) -> None:
        listing.closed.append(Path(error.filename))

    for parent, folders, names in os.walk(folder, onerror=closed, followlinks=False):
        visible = sorted(name for name in folders if not name.startswith("."))
        linked = [path for name in visible if (path := Path(parent) / name).is_symlink()]
        folders[:] = [name for name in visible if Path(parent) / name not in linked]
        listing.outside += [path for path in linked if not is_inside(path, folder)]
        for name in sorted(name for name in names if not name.startswith(".")):
            path = Path(parent) / name
            if path.is_symlink() and not is_inside(path, folder):
                listing.outside.append(path)
            elif path.is_file():
                listing.files.append(path)
    listing.files.sort()
    listing.outside.sort()
    listing.closed.sort()
    return listing
