"""In what form vectors are kept: how many bytes an item takes, and how faiss is told."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any

from penjing.errors import DataError

FEW, MANY = 1_000, 10_000
"""Vectors that ranges, and that codebooks of 256 entries learn from at the least."""
FLOAT16 = "float16"
FORM = re.compile(r"float16|int[23468]|binary|binary-int8|pq-float16|pca\d+-int8|pq\d+")
KNOWN = "float16, int8, int6, int4, int3, int2, binary, pcaN-int8, pqN, binary-int8, pq-float16"
ID = 8
"""Bytes of an item's number."""


@dataclass(frozen=True, slots=True)
class Spec:
    """A form. `codes` says how faiss encodes a vector of `width` numbers, which it was turned or shortened to.

    Where there is a `fine` form, that ranks again what is found. `bytes_per_item` counts all with the id; at least
    `least` vectors train it.
    """

    name: str
    codes: str
    bytes_per_item: float
    width: int
    turns: bool = False
    fine: str | None = None
    least: int = 1

    def as_json(self) -> dict[str, Any]:
        """Return a plain dict."""
        return asdict(self)

    def factory(self, buckets: int) -> str:
        """What `faiss.index_factory` makes it from, for so many buckets, whose middles are kept in float16."""
        return f"IVF{buckets}(SQfp16),{self.codes}"


def specs(width: int, count: int) -> list[Spec]:
    """All forms that so many vectors of a width can train, smallest first."""
    found = [Spec(FLOAT16, "SQfp16", 2.0 * width + ID, width), Spec("int8", "SQ8", width + ID, width, least=FEW)]
    found += [_turned(f"int{bits}", bits, width, count) for bits in (2, 3, 4, 6)]
    binary = _turned("binary", 1, width, count)
    size = binary.bytes_per_item + width + ID
    found += [binary, Spec("binary-int8", binary.codes, size, binary.width, turns=True, fine="SQ8", least=FEW)]
    sides = [side for side in (width // 8, width // 4, width // 2) if side >= 16 and width % side == 0]
    for side in sides:
        size, least = side + ID + 4 * side * width / max(1, count), max(FEW, 4 * side)
        found.append(Spec(f"pca{side}-int8", "SQ8", size, side, turns=True, least=least))
        found.append(Spec(f"pq{side}", f"PQ{side}", side + ID, width, least=MANY))
    for side in sides[:1]:
        found.append(Spec("pq-float16", f"PQ{side}", side + 2 * width + 2 * ID, width, fine="SQfp16", least=MANY))
    return sorted((one for one in found if count >= one.least), key=lambda one: one.bytes_per_item)


def candidates(width: int, count: int) -> list[Spec]:
    """Forms to choose from, smallest first; the last is float16, which loses next to nothing."""
    every = specs(width, count)
    return every[: next(place for place, spec in enumerate(every) if spec.name == FLOAT16) + 1]


def _turned(name: str, bits: int, width: int, count: int) -> Spec:
    """Few bits of turned numbers, all of which are about as large (RaBitQ, arXiv:2409.09913).

    As many numbers as a power of two are turned by signs and sums; for others a matrix is stored.
    """
    matrix = 0 if is_power_of_two(width) else 4 * width * width / max(1, count)
    size = width * bits / 8 + matrix + (8 if bits == 1 else 20) + ID
    return Spec(name, f"RaBitQ{bits}", size, width, turns=True, least=FEW)


def is_power_of_two(number: int) -> bool:
    """Whether it is."""
    return number & (number - 1) == 0


def check_form(name: str) -> None:
    """Refuse a name that no form has, whatever the vectors are."""
    if FORM.fullmatch(name) is None:
        raise DataError(f"no form called {name!r}", hint=f"known: {KNOWN}")
