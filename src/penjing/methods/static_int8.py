"""Static int8 (W8A8): the fast one for encoders, which are bound by arithmetic and not by memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

import torch
from pydantic import Field

from penjing.calibrate.stats import Range, RangeRule
from penjing.calibrate.walk import walk
from penjing.methods.base import Aids, Method, RangeCalibrated, method, not_finite
from penjing.methods.placing import int8_layer, why_no_int8_activations, why_not_int8
from penjing.methods.sensitivity import MOST_VALIDATED, Swap, restore_sensitive, swap_notes
from penjing.models.outputs import flat_output
from penjing.models.tower import Batch, Role, Site, Tower
from penjing.tensor.grid import relative_error
from penjing.values import Note


@method("static_int8")
class StaticInt8(RangeCalibrated):
    """Weights int8 per output channel, inputs uint8 with one range measured on calibration data: y = Q(x) Ŵᵀ.

    In a recipe: `{method: static_int8, towers: [encoder], calibration: percentile}`.
    The sites that the tower's output is most sensitive to, measured one by one on validation data, stay float until
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
        validation = (list(aids.select) or list(batches))[:MOST_VALIDATED]
        references = [flat_output(target.run(batch)) for batch in validation]
        swaps: dict[str, Swap] = {}
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
        floats, error = restore_sensitive(target, swaps, (validation, references), self.max_error, aids.tell)
        yield from swap_notes(self.name, target.name, swaps, floats, error)

    def _swap(self, site: Site, seen: Range) -> Swap:
        """Build the int8 layer of a site; codes of an earlier 8-bit step are kept."""
        original = site.module
        low, high = (end * (1.0 + self.margin) for end in seen.bounds(self.calibration))
        layer, weight_error = int8_layer(site, self.name)
        layer.input.cover(low, high)
        sample = torch.cat(seen.kept).float()
        input_error = relative_error(sample, layer.input(sample))
        return Swap(site, original, layer, (input_error**2 + weight_error**2) ** 0.5)


def _why_not(site: Site, seen: Range) -> str:
    if seen.calls == 0:
        return "never reached by the calibration data"
    if not seen.finite:
        raise not_finite(site.name, seen.bad_item)
    return why_not_int8(site)
