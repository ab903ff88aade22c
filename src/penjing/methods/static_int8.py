"""Static int8 (W8A8): the fast one for encoders, which are bound by arithmetic and not by memory."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from penjing.calibrate.stats import Range, RangeRule
from penjing.calibrate.walk import walk
from penjing.layers.bitmap import stored_bytes
from penjing.layers.static import StaticConv, StaticLinear
from penjing.methods.base import Aids, Method, RangeCalibrated, method, not_finite
from penjing.methods.placing import int8_layer, output_error, why_no_int8_activations, why_not_int8
from penjing.models.outputs import flat_output
from penjing.models.tower import Batch, Role, Site, Tower
from penjing.tensor.grid import relative_error
from penjing.values import Note, Tell

MOST_JUDGED = 8
"""Items of the select data on which the tower's output error is measured; a mean over thousands of values each."""

MOST_RANKED = 2
"""Items on which sites are ranked by what the tower feels of them; one run per site and item."""


@dataclass(frozen=True, eq=False, slots=True)
class _Swap:
    """A site's float module, the int8 layer that may replace it, and how far the two differ on calibration inputs."""

    site: Site
    original: nn.Module
    layer: StaticLinear | StaticConv
    error: float


@method("static_int8")
class StaticInt8(RangeCalibrated):
    """Weights int8 per output channel, inputs uint8 with one range measured on calibration data: y = Q(x) Ŵᵀ.

    In a recipe: `{method: static_int8, towers: [encoder], calibration: percentile}`.
    Sites whose rounding the tower's output feels most, measured site by site on the select data, stay float until
    `max_error` is met. After an 8-bit `rtn` step the codes are kept and inputs have 7 bits (`int8_layer_of_codes`
    says why); alone it is the more exact.
    """

    roles: ClassVar[tuple[Role, ...]] = ("encoder",)

    calibration: RangeRule = Field("absmax", description="range of inputs: absmax, percentile or mse")
    margin: float = Field(0.1, ge=0, le=1, description="share by which ranges reach beyond what calibration saw")
    max_error: float = Field(
        0.08, gt=0, description="relative error of the tower's output that is accepted, validation data"
    )

    def fits(self, site: Site) -> bool:
        """Layers that multiply."""
        return site.kind in ("linear", "conv")

    def conflict(self, earlier: Method) -> str:
        """No engine multiplies int8 activations by 2-, 3- or 4-bit codes, by codes in groups or with zero points."""
        return why_no_int8_activations(earlier)

    @torch.no_grad()
    def apply(self, target: Tower, batches: Sequence[Batch], aids: Aids) -> Iterator[Note]:
        """Replace sites block by block, then give the worst back until the output is near enough."""
        self.require(batches)
        judged = (list(aids.select) or list(batches))[:MOST_JUDGED]
        wanted = [flat_output(target.run(batch)) for batch in judged]
        swaps: dict[str, _Swap] = {}
        chosen = {site.name for site in self.chosen(target)}
        aids.tell(f"calibrate {target.name}", 0, len(chosen))
        for stretch, _, stats in walk(target, batches, Range):
            for name, site in stretch.sites.items():
                if name not in chosen:
                    continue
                aids.tell(f"calibrate {target.name}", len(swaps), len(chosen))
                seen = stats[name]
                assert isinstance(seen, Range)
                reason = _why_not(site, seen)
                if reason:
                    yield Note(name, self.name, target.name, 32.0, skipped=reason)
                    continue
                swaps[name] = self._swap(site, seen)
                site.replace(swaps[name].layer)
        floats, error = self._give_back(target, swaps, judged, wanted, aids.tell)
        for name, swap in swaps.items():
            if name in floats:
                why = f"among the {len(floats)} the tower feels most; its error is {error:.3f} with them float"
                yield Note(name, self.name, target.name, 32.0, swap.error, skipped=why)
            else:
                size_bytes = stored_bytes(swap.layer)
                bits = 8.0 * size_bytes / swap.layer.codes.numel()
                yield Note(name, self.name, target.name, bits, swap.error, size_bytes=size_bytes)

    def _swap(self, site: Site, seen: Range) -> _Swap:
        """Build the int8 layer of a site; codes of an earlier 8-bit step are kept."""
        original = site.module
        low, high = (end * (1.0 + self.margin) for end in seen.bounds(self.calibration))
        layer, weight_error = int8_layer(site, self.name)
        layer.input.cover(low, high)
        sample = torch.cat(seen.kept).float()
        input_error = relative_error(sample, layer.input(sample))
        return _Swap(site, original, layer, (input_error**2 + weight_error**2) ** 0.5)

    def _give_back(
        self, tower: Tower, swaps: dict[str, _Swap], judged: Sequence[Batch], wanted: list[Tensor], tell: Tell
    ) -> tuple[set[str], float]:
        """Return the sites felt most to float, in growing numbers, until the output error is at most `max_error`."""
        floats: set[str] = set()
        error = output_error(tower, judged, wanted)
        if error <= self.max_error:
            return floats, error
        felt = _felt_most(tower, swaps, judged[:MOST_RANKED], wanted[:MOST_RANKED], tell)
        while not error <= self.max_error and len(floats) < len(felt):  # an error may be NaN
            floats = set(felt[: len(floats) + 1 + len(floats) // 4])
            for name in floats:
                swaps[name].site.replace(swaps[name].original)
            error = output_error(tower, judged, wanted)
        return floats, error


def _felt_most(
    tower: Tower, swaps: dict[str, _Swap], judged: Sequence[Batch], wanted: Sequence[Tensor], tell: Tell
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
        alone[name] = output_error(tower, judged, wanted)
        swap.site.replace(swap.original)
    for swap in swaps.values():
        swap.site.replace(swap.layer)
    return sorted(alone, key=lambda name: -alone[name] if alone[name] == alone[name] else -math.inf)


def _why_not(site: Site, seen: Range) -> str:
    if seen.calls == 0:
        return "never reached by the calibration data"
    if not seen.finite:
        raise not_finite(site.name, seen.bad_item)
    return why_not_int8(site)
