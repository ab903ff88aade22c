"""What a teacher answered, on disk: computed once, read back item by item from a mapped file.

`answers.bin` holds arrays one after the other, `index.json` where each is; the index is written last, so a folder that
has one is whole. Until then `answered.jsonl` grows by a line an item, so that a killed run goes on where it stopped.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from penjing.bounded_json import parse_json, read_json
from penjing.errors import DataError
from penjing.train.folder import whole_lines, write_whole

VALUES, INDEX, ANSWERED = "answers.bin", "index.json", "answered.jsonl"
HALF, SINGLE, WIDE = "<f2", "<f4", "<i4"
LARGEST_HALF = 65000.0
MOST_INDEX_BYTES = 2**32
"""It grows with the items, and nobody else writes it."""

Parts = dict[str, Tensor]
"""Tensors of one item by name. Matrices are kept in 16 bits, vectors and integers in 32."""
Entry = dict[str, list[Any]]
"""Kind, shape and first byte of each part of an item."""


class AnswerCache:
    """Parts of numbered items in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._index: list[Entry] = []
        self._begun: list[Entry] = []
        if (folder / INDEX).is_file():
            self._index = read_json(folder / INDEX, most_bytes=MOST_INDEX_BYTES)
            self._bytes = np.memmap(folder / VALUES, np.uint8, "r")
        elif (folder / ANSWERED).is_file() and (folder / VALUES).is_file():
            begun: list[Entry] = [parse_json(line) for line in whole_lines(folder / ANSWERED)]
            size_bytes = (folder / VALUES).stat().st_size
            self._begun = [*takewhile(lambda entry: _end([entry]) <= size_bytes, begun)]

    @property
    def is_whole(self) -> bool:
        """Whether everything is there."""
        return bool(self._index)

    @property
    def answered(self) -> int:
        """Items whose parts a run that was broken off had written."""
        return len(self._begun)

    @property
    def size_bytes(self) -> int:
        """Bytes on disk."""
        return (self.folder / VALUES).stat().st_size

    def fill(self, parts: Iterable[Parts], first: int = 0) -> None:
        """Write the parts of all items, in order; those before `first` are there, of the `answered` ones."""
        self.folder.mkdir(parents=True, exist_ok=True)
        values, answered = self.folder / VALUES, self.folder / ANSWERED
        index = self._begun[:first]
        write_whole(answered, "".join(json.dumps(entry) + "\n" for entry in index))
        with values.open("r+b" if index else "wb") as file, answered.open("a", encoding="utf8") as lines:
            file.truncate(_end(index))
            file.seek(0, os.SEEK_END)
            for one in parts:
                entry: Entry = {}
                for name, value in one.items():
                    array = _stored(value)
                    entry[name] = [array.dtype.str, list(array.shape), file.tell()]
                    file.write(array.tobytes())
                file.flush()
                lines.write(json.dumps(entry) + "\n")
                lines.flush()
                index.append(entry)
        write_whole(self.folder / INDEX, json.dumps(index))
        answered.unlink()
        self._index = index
        self._bytes = np.memmap(values, np.uint8, "r")

    def read(self, item: int) -> Parts:
        """The parts of an item, floats in 32 bits."""
        found = {}
        for name, (kind, shape, place) in self._index[item].items():
            dtype = np.dtype(kind)
            array = self._bytes[place : place + _size(kind, shape)].view(dtype).reshape(shape)
            found[name] = torch.from_numpy(array.astype(np.int64 if kind == WIDE else np.float32))
        return found


def _size(kind: str, shape: Sequence[int]) -> int:
    return int(np.prod(shape, dtype=np.int64)) * np.dtype(kind).itemsize


def _end(index: Sequence[Entry]) -> int:
    """The byte behind the last part of these items."""
    return max((place + _size(kind, shape) for entry in index for kind, shape, place in entry.values()), default=0)


def stored_bytes(parts: Mapping[str, Tensor]) -> int:
    """Bytes that parts take on disk."""
    return sum(_stored(value).nbytes for value in parts.values())


def check_room(folder: Path, size_bytes: int, what: str) -> None:
    """Refuse what the disk has no room for."""
    place = next(parent for parent in (folder, *folder.parents) if parent.is_dir())
    free = shutil.disk_usage(place).free
    if size_bytes > free:
        raise DataError(
            f"{what} would take {size_bytes / 1e9:.3g} GB, and {place} has {free / 1e9:.3g} GB left",
            hint="free some, give fewer rows, or give features: 0 and attention: 0, whose hidden states take most",
        )


def _stored(value: Tensor) -> np.ndarray[Any, Any]:
    array = value.detach().numpy()
    if not value.is_floating_point():
        return array.astype(WIDE)
    return array.astype(SINGLE) if array.ndim < 2 else array.clip(-LARGEST_HALF, LARGEST_HALF).astype(HALF)
