"""SmoothQuant: outliers of activations move into weights, before anything is rounded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from penjing.calibrate.magnitude import Magnitude
from penjing.calibrate.walk import walk
from penjing.methods.base import Aids, RangeCalibrated, method, not_finite
from penjing.methods.placing import int8_layer, output_error
from penjing.models.graph import Feed, feeds
from penjing.models.outputs import flat_output
from penjing.models.tower import Batch, Role, Site, Tower
from penjing.tensor.smooth import smooth_scales
from penjing.values import Note

STRENGTHS = (0.2, 0.35, 0.5, 0.65, 0.8)
"""Tried on every tower, beside leaving it as it is: a wrong one costs CLIP ten points."""
MOST_JUDGED = 8
"""Items of the select data that a strength is chosen on."""


@dataclass(frozen=True, eq=False, slots=True)
class _Smoothable:
    """A feed, what its sites see, and the largest weight of each input (in,)."""

    feed: Feed
    seen: Magnitude
    weight_max: Tensor

    def scales(self, strength: float) -> Tensor:
        return smooth_scales(self.seen.largest, self.weight_max, strength)


@method("smoothquant")
class SmoothQuant(RangeCalibrated):
    """Divide channels of a norm's output by s and multiply the weights that read them by it (arXiv:2211.10438).

    In a recipe, before the step that rounds: `{method: smoothquant, towers: [encoder]}`, then `static_int8`. The
    network computes what it computed; only what is large moves. Without a `strength` the one is taken with which the
    tower's output changes least when weights and activations are int8, measured on the select data; none may be best.
    """

    roles: ClassVar[tuple[Role, ...]] = ("encoder", "decoder", "connector")
    stores: ClassVar[bool] = False

    strength: float | None = Field(None, ge=0, le=1, description="how much moves into weights; searched when left out")

    def fits(self, site: Site) -> bool:
        """Layers that multiply by a matrix, and still have float weights."""
        return site.kind == "linear" and isinstance(site.module.weight, nn.Parameter)

    @torch.no_grad()
    def apply(self, target: Tower, batches: Sequence[Batch], aids: Aids) -> Iterator[Note]:
        """Find what can be smoothed, choose the strength, fold."""
        self.require(batches)
        chosen = {site.name: site for site in self.chosen(target)}
        aids.tell(f"look at {target.name}", 0, 0)
        found = self._smoothable(target, batches, aids, chosen)
        strength, errors = self._choose(target, found, (list(aids.select) or list(batches))[:MOST_JUDGED], aids)
        moved: set[str] = set()
        if strength is not None:
            for one in found:
                one.feed.fold(one.scales(strength))
                moved |= {site.name for site in one.feed.sites}
        for name, site in chosen.items():
            if name in moved:
                yield Note(name, self.name, target.name, 32.0, size_bytes=4 * site.weight.numel())
            else:
                yield Note(name, self.name, target.name, 32.0, skipped=_why_not(errors, name, found))

    def _smoothable(
        self, target: Tower, batches: Sequence[Batch], aids: Aids, chosen: dict[str, Site]
    ) -> list[_Smoothable]:
        """Feeds all of whose sites are chosen, with what they see."""
        whole = [one for one in feeds(aids.model, target, batches[0]) if {site.name for site in one.sites} <= {*chosen}]
        watched = {one.sites[0].name for one in whole}
        seen = {name: stat for _, _, stats in walk(target, batches, Magnitude, watched) for name, stat in stats.items()}
        found = []
        for one in whole:
            stat = seen[one.sites[0].name]
            assert isinstance(stat, Magnitude)
            if not stat.finite:
                name = one.sites[0].name
                raise not_finite(name, stat.bad_item)
            weight_max = torch.stack([site.weight.abs().amax(0) for site in one.sites]).amax(0)
            found.append(_Smoothable(one, stat, weight_max))
        return found

    def _choose(
        self, target: Tower, found: Sequence[_Smoothable], judged: Sequence[Batch], aids: Aids
    ) -> tuple[float | None, dict[float | None, float]]:
        """The strength, None where none is best, and the tower's int8 error at each that was tried."""
        if self.strength is not None or not found:
            return self.strength, {}
        wanted = [flat_output(target.run(batch)) for batch in judged]
        errors: dict[float | None, float] = {}
        for strength in (None, *STRENGTHS):
            aids.tell(f"try strengths on {target.name}", len(errors), 1 + len(STRENGTHS))
            errors[strength] = _int8_error(target, found, strength, judged, wanted)
        return min(errors, key=lambda strength: errors[strength]), errors


def _int8_error(
    target: Tower, found: Sequence[_Smoothable], strength: float | None, judged: Sequence[Batch], wanted: list[Tensor]
) -> float:
    """The tower's output error with the smoothed sites in int8; everything is put back afterwards."""
    kept = [(values, values.clone()) for one in found for values in one.feed.values]
    swapped: list[tuple[Site, nn.Module]] = []
    try:
        for one in found:
            scales = torch.ones_like(one.weight_max) if strength is None else one.scales(strength)
            one.feed.fold(scales)
            low, high = (bound / scales for bound in one.seen.bounds)
            for site in one.feed.sites:
                layer, _ = int8_layer(site, SmoothQuant.name)
                layer.input.cover(float(low.min()), float(high.max()))
                swapped.append((site, site.module))
                site.replace(layer)
        return output_error(target, judged, wanted)
    finally:
        for site, module in swapped:
            site.replace(module)
        for values, saved in kept:
            values.copy_(saved)


def _why_not(errors: dict[float | None, float], name: str, found: Sequence[_Smoothable]) -> str:
    if any(site.name == name for one in found for site in one.feed.sites):
        best = min(error for strength, error in errors.items() if strength is not None)
        return f"no strength helps the tower: int8 error {errors[None]:.3f} as it is, {best:.3f} with the best"
    return "no norm feeds it alone, so no scale can move into it"
