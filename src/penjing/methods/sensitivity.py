"""Which layers stay float: those whose rounding the output of their tower is most sensitive to."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from penjing.layers.bitmap import stored_bytes
from penjing.layers.static import StaticConv, StaticLinear
from penjing.methods.placing import output_error
from penjing.models.tower import Batch, Site, Tower
from penjing.values import Note, Tell

MOST_VALIDATED = 8
"""Validation items on which the tower's output error is measured; a mean over thousands of values each."""

MOST_RANKED = 2
"""Items on which sites are ranked by their sensitivity; one run per site and item."""


@dataclass(frozen=True, eq=False, slots=True)
class Swap:
    """A site's float module, the int8 layer that has replaced it, and the relative error of that layer."""

    site: Site
    original: nn.Module
    layer: StaticLinear | StaticConv
    error: float


def restore_sensitive(
    tower: Tower,
    swaps: Mapping[str, Swap],
    validation: tuple[Sequence[Batch], Sequence[Tensor]],
    max_error: float,
    tell: Tell,
) -> tuple[set[str], float]:
    """Put the most sensitive sites back to float, in growing numbers, until the output error is at most `max_error`.

    Args:
        tower: the tower, with the int8 layers in place.
        swaps: what was replaced, by site name.
        validation: batches, and the tower's outputs on them before anything was replaced.
        max_error: relative error of the output that is accepted.
        tell: hears of progress.

    Returns:
        The names of the sites that are float again, and the output error with them.
    """
    batches, references = validation
    floats: set[str] = set()
    error = output_error(tower, batches, references)
    if error <= max_error:
        return floats, error
    ranked = _most_sensitive(tower, swaps, (batches[:MOST_RANKED], references[:MOST_RANKED]), tell)
    while not error <= max_error and len(floats) < len(ranked):  # an error may be NaN
        floats = set(ranked[: len(floats) + 1 + len(floats) // 4])
        for name in floats:
            swaps[name].site.replace(swaps[name].original)
        error = output_error(tower, batches, references)
    return floats, error


def swap_notes(
    method: str, tower: str, swaps: Mapping[str, Swap], floats: set[str], tower_error: float
) -> Iterator[Note]:
    """Yield a note for every swap; `floats` are the sites that were restored, with an output error of `tower_error`."""
    for name, swap in swaps.items():
        if name in floats:
            why = f"among the {len(floats)} most sensitive sites; with them float the error is {tower_error:.3f}"
            yield Note(name, method, tower, 32.0, swap.error, skipped=why)
        else:
            size_bytes = stored_bytes(swap.layer)
            yield Note(
                name, method, tower, 8.0 * size_bytes / swap.layer.codes.numel(), swap.error, size_bytes=size_bytes
            )


def _most_sensitive(
    tower: Tower, swaps: Mapping[str, Swap], validation: tuple[Sequence[Batch], Sequence[Tensor]], tell: Tell
) -> list[str]:
    """Names of the swapped sites, first the one that alone, all others float, moves the tower's output most.

    Alone, because small errors add up like independent ones (Whisper base, two clips: 0.196 for all sites together,
    0.197 by the root of the sum of squares), while leaving one site out of many int8 ones drowns in what the others do.
    A site's own rounding error says little: the thirtieth of Whisper base's fifty by it is felt second most.
    """
    alone: dict[str, float] = {}
    for swap in swaps.values():
        swap.site.replace(swap.original)
    for name, swap in swaps.items():
        tell(f"rank the sites of {tower.name}", len(alone), len(swaps))
        swap.site.replace(swap.layer)
        alone[name] = output_error(tower, *validation)
        swap.site.replace(swap.original)
    for swap in swaps.values():
        swap.site.replace(swap.layer)
    return sorted(alone, key=lambda name: -alone[name] if alone[name] == alone[name] else -math.inf)
