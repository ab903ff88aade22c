"""Image files: which formats are opened, and whether a file ends where its format says that it does."""

from __future__ import annotations

import contextlib
import io
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from PIL import Image

from penjing.data.formats import need_package
from penjing.errors import DataError

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "PPM", "AVIF", "JPEG2000")
"""What Pillow may open. Its other readers are of formats without pictures, or run other programs (EPS)."""
HEIF, TGA = "HEIF", "TGA"
HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")
AVIF_BRANDS = (b"avif", b"avis")
PNG_START, PNG_END = 8, b"IEND"
GIF_END, GIF_EXTENSION, GIF_IMAGE = 0x3B, 0x21, 0x2C
HINT = "the file is cut short: download or export it again"


@contextlib.contextmanager
def open_image_file(source: str | Path | bytes, name: str) -> Iterator[Image.Image]:
    """Open an image, not yet decoded; warnings of Pillow about it are not shown.

    Raises:
        DataError: it is HEIC and the extra `media` is not installed.
        OSError: and what else Pillow raises for files that are no images (`image.DAMAGED`).
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        file: BinaryIO = io.BytesIO(source) if isinstance(source, bytes) else Path(source).open("rb")  # noqa: SIM115
        stack.enter_context(file)
        yield stack.enter_context(Image.open(file, formats=_formats(file, source, name)))


def _formats(file: BinaryIO, source: str | Path | bytes, name: str) -> tuple[str, ...]:
    """Formats to try: HEIC by its first bytes, and TGA, which has none, by the name of the file."""
    head = file.read(32)
    file.seek(0)
    if head[4:8] == b"ftyp" and head[8:12] in HEIF_BRANDS and not any(brand in head[16:] for brand in AVIF_BRANDS):
        need_package("pillow_heif", name).register_heif_opener()
        return (HEIF,)
    if not isinstance(source, bytes) and Path(source).suffix.lower() == ".tga":
        return (*FORMATS, TGA)
    return FORMATS


def check_complete(image: Image.Image, name: str) -> None:
    """Refuse a file that ends before its format's own end, as most readers of Pillow do by themselves.

    Its readers of PNG and GIF are content once they have the pixels of the first frame, and padding may be missing of
    formats without compression. TGA and PPM have no mark at their end: any end behind the last pixel is one.

    Raises:
        DataError: the file is cut short.
    """
    file: BinaryIO | None = getattr(image, "fp", None)  # of what was opened from a file
    if file is None:
        return
    position = file.tell()
    size = file.seek(0, os.SEEK_END)
    try:
        if image.format == "PNG":
            complete = _png_ends(file, size)
        elif image.format == "GIF":
            complete = _gif_ends(file)
        else:
            complete = all(_raw_end(tile, image.height) <= size for tile in getattr(image, "tile", ()))
    finally:
        file.seek(position)
    if not complete:
        raise DataError(f"{name} is cut short", hint=HINT)


def _png_ends(file: BinaryIO, size: int) -> bool:
    """Return whether the chunks of a PNG file reach its last one."""
    position = PNG_START
    while True:
        file.seek(position)
        head = file.read(8)
        if len(head) < 8:
            return False
        position += 12 + int.from_bytes(head[:4], "big")
        if head[4:] == PNG_END:
            return position <= size


def _gif_ends(file: BinaryIO) -> bool:
    """Return whether the blocks of a GIF file reach its trailer."""
    file.seek(10)
    file.seek(13 + _palette_bytes(file.read(1)))
    while kind := file.read(1):
        if kind[0] == GIF_END:
            return True
        if kind[0] == GIF_IMAGE:
            head = file.read(9)
            file.seek(_palette_bytes(head[8:]) + 1, os.SEEK_CUR)
        elif kind[0] == GIF_EXTENSION:
            file.read(1)
        else:
            continue  # padding between blocks
        while (length := file.read(1)) and length[0]:
            file.seek(length[0], os.SEEK_CUR)
    return False


def _palette_bytes(flags: bytes) -> int:
    return 3 << ((flags[0] & 7) + 1) if flags and flags[0] & 0x80 else 0


def _raw_end(tile: tuple[object, ...], height: int) -> int:
    """Return where the rows of an uncompressed tile end; 0 where they are compressed or say no length."""
    codec, _, offset, arguments = tile[:4]
    if codec != "raw" or not isinstance(arguments, tuple) or len(arguments) < 2:
        return 0
    stride = arguments[1]
    return offset + stride * height if isinstance(offset, int) and isinstance(stride, int) else 0
