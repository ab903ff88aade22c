"""In what form vectors are kept: how many bytes an item takes, and how faiss is told."""

from __future__ import annotations

import math
import re
from dataclasses import asdict, dataclass
from typing import Any

from penjing.errors import DataError

BUCKETS_FROM = 100_000
"""From so many vectors on they lie in buckets, of which a query looks into a few; fewer are all looked at."""
FEW, MANY = 1_000, 10_000
"""Vectors that ranges, and that codebooks of 256 entries learn from at the least."""
FLOAT16 = "float16"
FORM = re.compile(r"float16|int[23468]|binary|binary-int8|pq-float16|pca\d+-int8|pq\d+")
KNOWN = "float16, int8, int6, int4, int3, int2, binary, pcaN-int8, pqN, binary-int8, pq-float16"
ID = 8
"""Bytes of an item's number."""


@dataclass(frozen=True, slots=True)
class Spec:
    """A form. `codes` says how faiss encodes a vector, after `before`, which turns or shortens it; where there is a
    `fine` form, that ranks again what is found. `bytes_per_item` counts both, with the id; `least` vectors train it.
    """

    name: str
    codes: str
    bytes_per_item: float
    before: str = ""
    fine: str | None = None
    least: int = 1

    def as_json(self) -> dict[str, Any]:
        """Return a plain dict."""
        return asdict(self)

    def factory(self, lists: int) -> str:
        """What `faiss.index_factory` makes it from, for so many buckets."""
        return f"{self.before}IVF{lists},{self.codes}"


def specs(width: int, count: int) -> list[Spec]:
    """All forms that so many vectors of a width can train, smallest first; the last, float16, loses next to nothing."""
    found = [Spec(FLOAT16, "SQfp16", 2.0 * width + ID), Spec("int8", "SQ8", width + ID, least=FEW)]
    for bits in (1, 2, 3, 4, 6):
        size = width * bits / 8 + (8 if bits == 1 else 20) + ID
        found.append(Spec("binary" if bits == 1 else f"int{bits}", f"RaBitQ{bits}", size, least=FEW))
    sides = [side for side in (width // 8, width // 4, width // 2) if side >= 16 and width % side == 0]
    for side in sides:
        found.append(Spec(f"pca{side}-int8", "SQ8", side + ID, before=f"PCA{side},", least=max(FEW, 4 * side)))
        found.append(Spec(f"pq{side}", f"PQ{side}", side + ID, least=MANY))
    found.append(Spec("binary-int8", "RaBitQ1", width * 9 / 8 + 8 + 2 * ID, fine="SQ8", least=FEW))
    for side in sides[:1]:
        found.append(Spec("pq-float16", f"PQ{side}", side + 2 * width + 2 * ID, fine="SQfp16", least=MANY))
    return sorted((one for one in found if count >= one.least), key=lambda one: one.bytes_per_item)


def check_form(name: str) -> None:
    """Refuse a name that no form has, whatever the vectors are."""
    if FORM.fullmatch(name) is None:
        raise DataError(f"no form called {name!r}", hint=f"known: {KNOWN}")


def buckets(count: int) -> int:
    """How many buckets so many vectors lie in: some eight times their root, a power of two; few all lie in one.

    A form keeps what is left of a vector in its bucket: the more there are, the less is left, and the more their
    middles take: 17 bytes an item at a million vectors of 512 numbers.
    """
    return 1 if count < BUCKETS_FROM else 1 << round(math.log2(8 * math.sqrt(count)))
