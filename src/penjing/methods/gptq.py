"""GPTQ: weights settled column by column, each making up for what the ones before it lost."""

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
from penjing.methods.placing import Coded, code_site, why_not_coded
from penjing.models.tower import Batch, Role, Site, Tower
from penjing.tensor.brain import gptq
from penjing.values import Note

TOO_FEW = "fewer calibration tokens than inputs, so damping was raised: give more data"


@method("gptq")
class Gptq(Coded):
    """Round weights so that what their layer makes of calibration data changes least (arXiv:2210.17323).

    In a recipe: `{method: gptq, bits: 4, group: 64, towers: [decoder]}`. It needs the same bytes as `rtn` at the same
    bits and groups. Blocks are settled in order, and each is fed by what the compressed ones before it give. Where
    modalities share a tower, each counts as much as the task's loss feels its tokens (arXiv:2412.19509). Tables of
    words, convolutions and what calibration never reaches are left for another step. Masked weights stay zero, and the
    others make up for them.
    """

    roles: ClassVar[tuple[Role, ...]] = ("encoder", "decoder", "connector")
    needs_data: ClassVar[bool] = True

    by_activation: bool = Field(True, description="settle inputs of large energy first")
    balance: bool = Field(True, description="weigh modalities that share a tower by how much the task feels them")
    damping: float = Field(0.01, gt=0, lt=1, description="share of the mean energy added to every input's")

    @torch.no_grad()
    def apply(self, target: Tower, batches: Sequence[Batch], aids: Aids) -> Iterator[Note]:
        """Settle the sites of one block after the other."""
        self.require(batches)
        chosen = {site.name: site for site in self.chosen(target)}
        weights = modality_weights(target, batches) if self.balance else None
        for site, seen in each_site(target, batches, Products(weighing(target, weights)).gram, chosen, aids.tell):
            assert isinstance(seen, Gram)
            yield self._settle(site, seen, target.name)

    def _settle(self, site: Site, seen: Gram, tower: str) -> Note:
        gram = seen.values
        reason = why_not_coded(site, self.group)
        if not reason and gram is None:
            reason = "never reached by the calibration data"
        if reason or gram is None:
            return Note(site.name, self.name, tower, 32.0, skipped=reason)
        if not seen.finite:
            raise not_finite(site.name, seen.bad_item)
        # More where fewer tokens were seen than there are inputs: what they span says nothing of the rest.
        growth = max(1.0, len(gram) / seen.tokens)
        codes = gptq(
            site.weight.detach(),
            gram,
            self.grid,
            growth * self.damping,
            by_activation=self.by_activation,
            mask=mask_of(site.module),
        )
        note = code_site(site, codes, self.grid, self.name, tower)
        return replace(note, remark=TOO_FEW) if growth > 1 else note
