"""WAV files whose header was written before their length was known: pipes cannot go back to fill it in.

Such a header declares 0 or all ones as the length of its samples, as `ffmpeg … -f wav pipe:` and recorders that stop
without closing their file do. libsndfile takes all ones for "to the end", and 0 for a file without samples.
"""

from __future__ import annotations

import contextlib
import io
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

RIFF, WAVE, DATA = b"RIFF", b"WAVE", b"data"
TO_THE_END = 0xFFFFFFFF


class _Relabelled(io.RawIOBase):
    """A file, four bytes of which read as others."""

    def __init__(self, file: BinaryIO, offset: int, label: bytes) -> None:
        super().__init__()
        self._file, self._offset, self._label = file, offset, label

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to an offset, as any file does."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """Where it stands."""
        return self._file.tell()

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Read into a buffer; returns how many bytes."""
        start = self._file.tell()
        content = bytearray(self._file.read(len(buffer)))
        for shift, byte in enumerate(self._label):
            position = self._offset + shift - start
            if 0 <= position < len(content):
                content[position] = byte
        buffer[: len(content)] = content
        return len(content)


@contextlib.contextmanager
def opened(source: str | Path | bytes) -> Iterator[str | BinaryIO]:
    """What soundfile opens: a path, encoded bytes as a file, or a streamed WAV with a length that reads as open."""
    if not isinstance(source, bytes) and not Path(source).is_file():
        yield os.fspath(source)
        return
    with io.BytesIO(source) if isinstance(source, bytes) else Path(source).open("rb") as file:
        offset = open_length(file)
        if offset is not None:
            yield cast(BinaryIO, _Relabelled(file, offset, struct.pack("<I", TO_THE_END)))
        else:
            yield file if isinstance(source, bytes) else os.fspath(source)


def open_length(file: BinaryIO) -> int | None:
    """Where in a WAV file a length of samples of 0 stands that means "to the end"; the file is rewound.

    A file without samples declares 0, too: nothing follows there, or whole chunks up to the end.
    """
    end = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(12)
    offset = None
    if head[:4] == RIFF and head[8:] == WAVE:
        position = 12
        while len(chunk := file.read(8)) == 8:
            name, length = struct.unpack("<4sI", chunk)
            if name == DATA:
                offset = position + 4 if length == 0 and not _is_chunks(file, position + 8, end) else None
                break
            position += 8 + length + length % 2
            file.seek(position)
    file.seek(0)
    return offset


def _is_chunks(file: BinaryIO, position: int, end: int) -> bool:
    """Whether whole chunks, or nothing, lie between a position and the end of a file."""
    while position < end:
        file.seek(position)
        chunk = file.read(8)
        if len(chunk) < 8 or not chunk[:4].isascii() or not chunk[:4].decode().isprintable():
            return False
        length = struct.unpack("<I", chunk[4:])[0]
        position += 8 + length + length % 2
    return position in (end, end + 1)
