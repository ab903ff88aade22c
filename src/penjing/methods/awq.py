"""AWQ: weights of salient inputs are enlarged before they are rounded, and lose less."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from penjing.calibrate.gram import Gram, Products
from penjing.calibrate.walk import walk
from penjing.methods.base import Aids, method, not_finite
from penjing.methods.placing import Coded, code_site, why_not_coded
from penjing.models.graph import Feed, feeds
from penjing.models.tower import Batch, Role, Site, Tower
from penjing.tensor.brain import squared_output_error
from penjing.tensor.grid import quantize
from penjing.tensor.smooth import awq_scales
from penjing.values import Note

STRENGTHS = tuple(step / 20 for step in range(20))
"""0, which leaves the weights as they are, to 0.95."""


@method("awq")
class Awq(Coded):
    """Multiply the weights of input j by s_j and divide the norm before them by it, then round (arXiv:2306.00978).

    In a recipe: `{method: awq, bits: 4, group: 64, towers: [decoder]}`. s_j is a power of how large input j is, and the
    power the one with which the rounded layers' outputs change least. Clipping is searched with inputs weighted by
    their energy. With `round_weights: false` only scales move, for a `gptq` step of the same bits and groups to follow.
    """

    roles: ClassVar[tuple[Role, ...]] = ("encoder", "decoder", "connector")
    needs_data: ClassVar[bool] = True

    round_weights: bool = Field(True, description="false leaves floats, for a step that settles them")

    @property
    def leaves_codes(self) -> bool:
        """Not where only scales move."""
        return self.round_weights

    @torch.no_grad()
    def apply(self, target: Tower, batches: Sequence[Batch], aids: Aids) -> Iterator[Note]:
        """Scale what norms feed and round everything, block after block."""
        self.require(batches)
        chosen = {site.name: site for site in self.chosen(target)}
        todo = {name for name, site in chosen.items() if not why_not_coded(site, self.group)}
        aids.tell(f"calibrate {target.name}", 0, len(chosen))
        fed = [one for one in feeds(aids.model, target, batches[0]) if {site.name for site in one.sites} <= todo]
        for name in (name for name in chosen if name not in todo):
            yield Note(name, self.name, target.name, 32.0, skipped=why_not_coded(chosen[name], self.group))
        done = len(chosen) - len(todo)
        for stretch, _, stats in walk(target, batches, Products().gram, todo):
            grams = {name: _checked(name, stats[name]) for name in stretch.sites if name in todo}
            scaled = self._scale([one for one in fed if one.sites[0].name in grams], grams)
            for name, gram in grams.items():
                yield self._finish(chosen[name], gram, target.name, name in scaled)
                done += 1
                aids.tell(f"calibrate {target.name}", done, len(chosen))

    def _scale(self, fed: Sequence[Feed], grams: dict[str, Tensor | None]) -> set[str]:
        """Move the best scale through each feed; the statistics follow. Returns the names of the sites it feeds."""
        moved: set[str] = set()
        for one in fed:
            gram = grams[one.sites[0].name]
            if gram is None:
                continue
            scale = self._best_scale(one, gram)
            one.fold(scale)
            for site in one.sites:
                grams[site.name] = gram / scale.outer(scale)
                moved.add(site.name)
        return moved

    def _best_scale(self, one: Feed, gram: Tensor) -> Tensor:
        """The scale (in,) with which the rounded sites of a feed answer nearest to the float ones."""
        size = gram.diagonal().clamp_min(0).sqrt()

        def lost(strength: float) -> float:
            scale = awq_scales(size, strength)
            return sum(
                squared_output_error(
                    site.weight - quantize(site.weight * scale, *self.grid[:2], symmetric=self.symmetric).dequantize(
                        len(scale)
                    ) / scale,
                    gram,
                )
                for site in one.sites
            )  # fmt: skip

        return awq_scales(size, min(STRENGTHS, key=lost))

    def _finish(self, site: Site, gram: Tensor | None, tower: str, scaled: bool) -> Note:
        if gram is None:
            return Note(site.name, self.name, tower, 32.0, skipped="never reached by the calibration data")
        if not self.round_weights:
            why = "" if scaled else "no norm feeds it alone, so no scale can move into it"
            return Note(
                site.name, self.name, tower, 32.0, skipped=why, size_bytes=4 * site.weight.numel() if scaled else 0
            )
        bits, group, symmetric = self.grid
        codes = quantize(site.weight, bits, group, symmetric=symmetric, clip=True, importance=gram.diagonal())
        return code_site(site, codes, self.grid, self.name, tower)


def _checked(name: str, seen: object) -> Tensor | None:
    """The Gram matrix of a site's inputs; None where nothing reached it."""
    assert isinstance(seen, Gram)
    if not seen.finite:
        raise not_finite(name, seen.bad_item)
    return seen.values
