"""Tables stored as float16 and computed as float32: position tables, which are read by the row and never multiplied."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from penjing.layers.half import mark_half, store_half
from penjing.methods.base import Aids, Method, method
from penjing.models.tower import Batch, Site, Tower
from penjing.tensor.grid import relative_error
from penjing.values import Note

LARGEST = 65504.0
"""The largest float16."""


@method("float16")
class Float16(Method):
    """Store tables of positions in two bytes a value.

    In a recipe: `{method: float16, towers: [encoder]}`.
    """

    def fits(self, site: Site) -> bool:
        """Position tables only: a matrix that is multiplied is better served by integer codes."""
        return site.kind == "position"

    def apply(self, target: Tower, batches: Sequence[Batch], aids: Aids) -> Iterator[Note]:
        """Round each table to float16 values and mark it."""
        for site in self.chosen(target):
            before = site.weight.detach().clone()
            if float(before.abs().max()) > LARGEST:
                yield Note(site.name, self.name, target.name, 32.0, skipped=f"it holds values above {LARGEST:.0f}")
                continue
            store_half(site.module)
            for place in site.tied:
                mark_half(place.module, "weight")
            error = relative_error(before, site.weight)
            yield Note(site.name, self.name, target.name, 16.0, error, size_bytes=2 * before.numel())
