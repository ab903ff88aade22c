"""8-bit weights whose scales are powers of two: hardware without a multiplier shifts instead."""

from collections.abc import Iterator, Sequence
from typing import Literal

import torch
from pydantic import Field

from penjing.methods.base import Aids, Method, method
from penjing.methods.placing import code_site, why_not_coded
from penjing.models.tower import Batch, Site, Tower
from penjing.tensor.grid import Codes, encode, fit_symmetric, to_groups
from penjing.values import Note


@method("power_of_two")
class PowerOfTwo(Method):
    """Round weights to a grid whose scale, one per channel, is the next larger power of two (arXiv:1903.08066).

    In a recipe: `{method: power_of_two, towers: [text]}`.
    """

    bits: Literal[8, 4] = Field(8, description="bits of a weight")

    def fits(self, site: Site) -> bool:
        return site.kind == "linear"

    @torch.no_grad()
    def apply(self, target: Tower, batches: Sequence[Batch], aids: Aids) -> Iterator[Note]:
        for site in self.chosen(target):
            reason = why_not_coded(site, group=0)
            if reason:
                yield Note(site.name, self.name, target.name, 32.0, skipped=reason)
                continue
            groups = to_groups(site.weight, 0)
            scales, zeros = fit_symmetric(groups, self.bits)
            scales = torch.exp2(scales.log2().ceil())
            codes = Codes(encode(groups, scales, zeros, self.bits).to(torch.uint8), scales, zeros)
            yield code_site(site, codes, (self.bits, 0, True), self.name, target.name)
