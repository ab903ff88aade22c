"""int8_cache: what a decoder remembers of the text so far, in a quarter of the memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from penjing.layers.cache import CacheGrid, to_codes
from penjing.methods.base import Aids, Method, method, not_finite
from penjing.models.tower import Batch, Role, Site, Tower
from penjing.tensor.grid import relative_error
from penjing.values import Note

CacheOf = list[tuple[Tensor, Tensor]]


@method("int8_cache")
class Int8Cache(Method):
    """Keep keys and values of a language model as int8, with a step per layer, key head and channel.

    In a recipe: `{method: int8_cache, towers: [decoder]}`. `past_key_values` and `present` of the graph become int8;
    the steps are the largest magnitudes that calibration data show, and stay in the graph. Weights are left as they
    are: put this step after those that change them.
    """

    roles: ClassVar[tuple[Role, ...]] = ("decoder",)
    needs_data: ClassVar[bool] = True
    changes_weights: ClassVar[bool] = False

    def fits(self, site: Site) -> bool:
        """No site: what is rounded is no weight."""
        return False

    @torch.no_grad()
    def apply(self, target: Tower, batches: Sequence[Batch], aids: Aids) -> Iterator[Note]:
        """Measure the cache on all batches and fix its grid."""
        self.require(batches)
        name = f"{target.name}.cache"
        if target.cache is None:
            yield Note(name, self.name, target.name, 32.0, skipped="no graph of this family carries its cache so far")
            return
        keys, values = self._largest(target, batches, aids)
        layers, heads, _, width = keys.shape
        grid = CacheGrid(layers, heads, width)
        grid.fit(keys, values)
        target.module.cache_grid = grid
        yield Note(name, self.name, target.name, 8.0, _error(grid, target.cache(batches[0])))

    def _largest(self, target: Tower, batches: Sequence[Batch], aids: Aids) -> tuple[Tensor, Tensor]:
        """Largest magnitudes of keys and of values over all tokens, each (layers, heads, 1, width)."""
        assert target.cache is not None
        largest = torch.zeros(())
        for done, batch in enumerate(batches):
            aids.tell(f"calibrate {target.name}", done, len(batches))
            found = target.cache(batch)
            peaks = torch.stack([torch.stack([_peaks(layer[part]) for layer in found]) for part in (0, 1)])
            if not bool(torch.isfinite(peaks).all()):
                raise not_finite(f"the cache of {target.name}", done)
            largest = torch.maximum(largest, peaks)
        return largest[0], largest[1]


def _peaks(part: Tensor) -> Tensor:
    """Largest magnitude of each channel: (batch, heads, tokens, width) -> (heads, 1, width)."""
    return part.abs().amax((0, 2)).unsqueeze(1)


def _error(grid: CacheGrid, cache: CacheOf) -> float:
    """Mean relative error of a cache's keys and values."""
    errors = []
    for place, parts in enumerate(cache):
        for part, step in zip(parts, (grid.keys[place], grid.values[place]), strict=True):
            errors.append(relative_error(part, to_codes(part, step).float() * step))
    return sum(errors) / len(errors)
