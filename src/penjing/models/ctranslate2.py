"""Read the weights of a CTranslate2 folder (`model.bin`): a flat list of named arrays, no code in it.

Layout, little-endian (CTranslate2, python/ctranslate2/specs/model_spec.py, version 6): version u32, name, revision u32,
the number of arrays u32; per array its name, rank u8, dimensions u32, type u8, bytes u32 and data; then the number of
aliases u32, and per alias two names. A name is a length u16 and so many bytes, the last one zero.
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from penjing.errors import ModelError
from penjing.values import Array

TYPES = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}
HINT = "give a model.bin of CTranslate2 in float16 or float32"


class Reader:
    """A cursor over bytes that never reads beyond their end."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self._place = 0

    def take(self, count: int) -> memoryview:
        """The next bytes."""
        found = self._data[self._place : self._place + count]
        if len(found) < count:
            raise ModelError("model.bin ends in the middle of an array", hint=HINT)
        self._place += count
        return found

    def number(self, code: str) -> int:
        """The next whole number, by its struct code."""
        (value,) = struct.unpack("<" + code, self.take(struct.calcsize(code)))
        return int(value)

    def name(self) -> str:
        """The next name."""
        return bytes(self.take(self.number("H"))).rstrip(b"\0").decode("utf8", "replace")


def read_arrays(path: Path) -> dict[str, Array]:
    """Read every array of a `model.bin` by name; aliases show the same array."""
    reader = Reader(memoryview(path.read_bytes()))
    version = reader.number("I")
    if version != 6:
        raise ModelError(f"{path} has CTranslate2 format {version}, this reads 6", hint=HINT)
    reader.name()
    reader.number("I")
    arrays: dict[str, Array] = {}
    for _ in range(reader.number("I")):
        name, rank = reader.name(), reader.number("B")
        shape = [reader.number("I") for _ in range(rank)]
        kind, size = reader.number("B"), reader.number("I")
        if kind not in TYPES:
            raise ModelError(f"{path}: {name} has the unknown type {kind}", hint=HINT)
        arrays[name] = np.frombuffer(reader.take(size), TYPES[kind]).reshape(shape)
    for _ in range(reader.number("I")):
        alias, name = reader.name(), reader.name()
        arrays[alias] = arrays[name]
    return arrays
