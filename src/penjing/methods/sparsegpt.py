"""SparseGPT: weights that stay move to make up for those that go."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import ClassVar

import torch
from pydantic import Field

from penjing.calibrate.balance import modality_weights, weighing
from penjing.calibrate.gram import Gram, Products
from penjing.calibrate.walk import each_site
from penjing.layers.masked import mask_of
from penjing.methods.base import Aids, method, not_finite
from penjing.methods.masking import STORAGE_ONLY, Masking, why_not_masked
from penjing.models.tower import Batch, Site, Tower
from penjing.tensor.sparsegpt import sparsegpt
from penjing.values import Note

TOO_FEW = f"fewer calibration tokens than inputs, so damping was raised: give more data; {STORAGE_ONLY}"


@method("sparsegpt")
class SparseGpt(Masking):
    """Mask so that what a layer makes of calibration data changes least, and let the rest make up (arXiv:2301.00774).

    In a recipe: `{method: sparsegpt, share: 0.5, towers: [decoder]}`. Columns are settled in order, and which of their
    weights go is decided when their turn comes. Blocks are masked in order, each fed by what the masked ones before it
    give. A `gptq` step behind it keeps the mask.
    """

    needs_data: ClassVar[bool] = True

    balance: bool = Field(True, description="weigh modalities that share a tower by how much the task feels them")
    damping: float = Field(0.01, gt=0, lt=1, description="share of the mean energy added to every input's")

    @torch.no_grad()
    def apply(self, target: Tower, batches: Sequence[Batch], aids: Aids) -> Iterator[Note]:
        """Mask the sites of one block after the other."""
        self.require(batches)
        self.check(target)
        chosen = {site.name: site for site in self.chosen(target)}
        weights = modality_weights(target, batches) if self.balance else None
        for site, seen in each_site(target, batches, Products(weighing(target, weights)).gram, chosen, aids.tell):
            assert isinstance(seen, Gram)
            yield self._settle(site, seen, target.name)

    def _settle(self, site: Site, seen: Gram, tower: str) -> Note:
        gram = seen.values
        reason = why_not_masked(site)
        if reason or gram is None:
            return self.skip(site, tower, reason or "never reached by the calibration data")
        if not seen.finite:
            raise not_finite(site.name, seen.bad_item)
        growth = max(1.0, len(gram) / seen.tokens)  # as in GPTQ: what few tokens span says nothing of the rest
        weight, mask = sparsegpt(
            site.weight.detach(), gram, growth * self.damping, self.lost, self.n_of_m, mask_of(site.module)
        )
        note = self.mask_site(site, mask, tower, weight)
        return replace(note, remark=TOO_FEW) if growth > 1 else note
