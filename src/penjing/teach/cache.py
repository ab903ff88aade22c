"""What a teacher answered, on disk: computed once, read back item by item from a mapped file.

`answers.bin` holds arrays one after the other, `index.json` where each is; the index is written last, so a folder that
has one is whole.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from penjing.errors import DataError

VALUES, INDEX = "answers.bin", "index.json"
HALF, SINGLE, WIDE = "<f2", "<f4", "<i4"
LARGEST_HALF = 65000.0

Parts = dict[str, Tensor]
"""Tensors of one item by name. Matrices are kept in 16 bits, vectors and integers in 32."""


class AnswerCache:
    """Parts of numbered items in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._index: list[dict[str, list[Any]]] = []
        if (folder / INDEX).is_file():
            self._index = json.loads((folder / INDEX).read_text(encoding="utf8"))
            self._bytes = np.memmap(folder / VALUES, np.uint8, "r")

    @property
    def is_whole(self) -> bool:
        """Whether everything is there."""
        return bool(self._index)

    @property
    def size_bytes(self) -> int:
        """Bytes on disk."""
        return (self.folder / VALUES).stat().st_size

    def fill(self, parts: Iterable[Parts]) -> None:
        """Write the parts of all items, in order."""
        self.folder.mkdir(parents=True, exist_ok=True)
        index: list[dict[str, list[Any]]] = []
        place = 0
        with (self.folder / VALUES).open("wb") as file:
            for one in parts:
                entry: dict[str, list[Any]] = {}
                for name, value in one.items():
                    array = _stored(value)
                    file.write(array.tobytes())
                    entry[name] = [array.dtype.str, list(array.shape), place]
                    place += array.nbytes
                index.append(entry)
        (self.folder / INDEX).write_text(json.dumps(index), encoding="utf8")
        self._index = index
        self._bytes = np.memmap(self.folder / VALUES, np.uint8, "r")

    def read(self, item: int) -> Parts:
        """The parts of an item, floats in 32 bits."""
        found = {}
        for name, (kind, shape, place) in self._index[item].items():
            dtype = np.dtype(kind)
            size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
            array = self._bytes[place : place + size].view(dtype).reshape(shape)
            found[name] = torch.from_numpy(array.astype(np.int64 if kind == WIDE else np.float32))
        return found


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
