"""HQQ: a grid that most weights like, found without any data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

import torch

from penjing.methods.base import Aids, method
from penjing.methods.placing import Coded, code_site, why_not_coded
from penjing.models.tower import Batch, Role, Site, Tower
from penjing.tensor.halfquad import half_quadratic
from penjing.values import Note


@method("hqq")
class Hqq(Coded):
    """Fit each group's grid to the bulk of its weights and leave outliers aside (half-quadratic quantization, 2023).

    In a recipe: `{method: hqq, bits: 4, group: 64, towers: [decoder]}`. No data; the bytes of `rtn` at the same bits
    and groups. Where calibration data is at hand, `gptq` and `awq` do better: they know which weights matter.
    """

    roles: ClassVar[tuple[Role, ...]] = ("encoder", "decoder", "connector", "embedding")

    def fits(self, site: Site) -> bool:
        """Matrices: layers that multiply, and tables."""
        return site.kind in ("linear", "embedding")

    @torch.no_grad()
    def apply(self, target: Tower, batches: Sequence[Batch], aids: Aids) -> Iterator[Note]:
        """Replace each site, and what is tied to it, by a layer of codes."""
        for site in self.chosen(target):
            reason = why_not_coded(site, self.group)
            if reason:
                yield Note(site.name, self.name, target.name, 32.0, skipped=reason)
                continue
            codes = half_quadratic(site.weight, self.bits, self.group, symmetric=self.symmetric)
            yield code_site(site, codes, self.grid, self.name, target.name)
