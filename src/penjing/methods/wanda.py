"""Wanda: a weight matters as much as what it multiplies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

import torch

from penjing.calibrate.energy import Energy
from penjing.calibrate.walk import each_site
from penjing.methods.base import Aids, method, not_finite
from penjing.methods.masking import Masking, why_not_masked
from penjing.models.tower import Batch, Site, Tower
from penjing.tensor.mask import gone, keep_largest_in_rows, keep_n_of_m, wanda_scores
from penjing.values import Note


@method("wanda")
class Wanda(Masking):
    """Mask the weights of least |w| · ‖x‖₂ in every output, x the input they multiply (arXiv:2306.11695).

    In a recipe: `{method: wanda, share: 0.5, towers: [decoder]}`. Weights that stay are not changed. Blocks are masked
    in order, and each is fed by what the masked ones before it give.
    """

    needs_data: ClassVar[bool] = True

    def empties(self, site: Site) -> bool:
        """Whether nothing of an output would stay."""
        width = site.weight.shape[1]
        return gone(width, self.lost) == width

    @torch.no_grad()
    def apply(self, target: Tower, batches: Sequence[Batch], aids: Aids) -> Iterator[Note]:
        """Mask the sites of one block after the other."""
        self.require(batches)
        self.check(target)
        chosen = {site.name: site for site in self.chosen(target)}
        for site, seen in each_site(target, batches, Energy, chosen, aids.tell):
            assert isinstance(seen, Energy)
            yield self._mask(site, seen, target.name)

    def _mask(self, site: Site, seen: Energy, tower: str) -> Note:
        reason = why_not_masked(site) or ("" if seen.tokens else "never reached by the calibration data")
        if reason:
            return self.skip(site, tower, reason)
        if not seen.finite:
            raise not_finite(site.name, seen.bad_item)
        scores = wanda_scores(site.weight, seen.norm)
        mask = keep_n_of_m(scores, *self.n_of_m) if self.n_of_m else keep_largest_in_rows(scores, self.lost)
        return self.mask_site(site, mask, tower)
