"""Formats by the endings of file names: what is read, what an extra reads, and what is left out and counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

from penjing.data.row import Media
from penjing.errors import DataError, MissingExtra
from penjing.extras import have, need

EXTRA = "media"
HINT = 'pip install "penjing[media]"'
HEIF = frozenset({".heic", ".heif", ".hif"})
CONTAINERS = frozenset(
    {".m4a", ".m4b", ".mp4", ".m4v", ".mov", ".3gp", ".webm", ".mkv", ".mka", ".aac", ".wma", ".amr"}
)
"""Files whose sound is read by PyAV."""
IMAGES = HEIF | {
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff", ".ppm",
    ".pgm", ".pbm", ".pnm", ".avif", ".jp2", ".j2k", ".jpx", ".tga",
}  # fmt: skip
SOUNDS = CONTAINERS | {
    ".wav",
    ".flac",
    ".ogg",
    ".oga",
    ".opus",
    ".mp3",
    ".aif",
    ".aiff",
    ".aifc",
    ".au",
    ".w64",
}
DOCUMENTS = frozenset({".pdf"})
"""Documents whose text is read by pypdf."""
PACKAGES = {
    **dict.fromkeys(HEIF, "pillow_heif"),
    **dict.fromkeys(CONTAINERS, "av"),
    **dict.fromkeys(DOCUMENTS, "pypdf"),
}
"""The package of the extra that an ending needs."""


def media_of(name: str | Path) -> Media | None:
    """Tell image from audio by the ending of a file name; None for anything else."""
    ending = Path(name).suffix.lower()
    return "image" if ending in IMAGES else "audio" if ending in SOUNDS else None


def is_readable(name: str | Path) -> bool:
    """Return whether the package that a file's format needs is installed."""
    package = PACKAGES.get(Path(name).suffix.lower())
    return package is None or have(package)


def need_package(package: str, name: str) -> ModuleType:
    """Import a package of the extra to read the file of a name.

    Raises:
        DataError: it is not installed.
    """
    try:
        return need(package, EXTRA)
    except MissingExtra as error:
        raise DataError(f"{name} is in a format that {package} reads, which is not installed", hint=HINT) from error


def ignored_note(files: Iterable[Path], outside: Iterable[Path] = (), closed: Iterable[Path] = ()) -> str | None:
    """Name and count files that are not read, in one line.

    Args:
        files: files in other formats, or in formats whose package is not installed.
        outside: links that lead out of the folder that they are in.
        closed: folders that may not be read.

    Returns:
        The line, or None where nothing is left out.
    """
    endings, missing, links = Counter[str](), Counter[str](), sorted(map(str, outside))
    for path in files:
        (endings if is_readable(path) else missing)[path.suffix.lower() or path.name] += 1
    parts = []
    if endings:
        parts.append(_counts(endings))
    if missing:
        parts.append(f"{_counts(missing)} ({HINT})")
    if links:
        more = f" and {len(links) - 1} more" if len(links) > 1 else ""
        parts.append(f"links out of the folder: {links[0]}{more} (name the folder that they lead to)")
    count = endings.total() + missing.total() + len(links)
    notes = [f"left out {count} file{'s' * (count != 1)}: {'; '.join(parts)}"] if parts else []
    notes += [f"{path} may not be read" for path in sorted(map(str, closed))]
    return "; ".join(notes) or None


def _counts(endings: Counter[str]) -> str:
    return ", ".join(
        f"{count} {ending}" for ending, count in sorted(endings.items(), key=lambda pair: (-pair[1], pair[0]))
    )
