"""Round to nearest: the calibration-free baseline, and good enough at 8 bits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import nn

from penjing.layers.weight_only import IntConv
from penjing.methods.base import Aids, Method, method
from penjing.methods.placing import place_codes, why_not_coded
from penjing.models.tower import Batch, Role, Site, Tower
from penjing.tensor.grid import quantize, relative_error
from penjing.values import Note


@method("rtn")
class Rtn(Method):
    """Round every weight to the nearest point of a grid of 2^bits, one scale per channel or per group of inputs.

    In a recipe: `{method: rtn, bits: 4, group: 64, towers: [decoder]}`.
    Symmetric: s = max|w| / (2^(bits-1) - 1), code = round(w / s). Asymmetric: the grid spans [min, max].
    """

    # An untied output head decides between near-equal words: it stays float unless a recipe names it.
    roles: ClassVar[tuple[Role, ...]] = ("encoder", "decoder", "connector", "embedding")

    bits: Literal[8, 4, 3, 2] = Field(8, description="bits of a weight; 3-bit codes take 4 in the engines")
    group: Literal[0, 32, 64, 128] = Field(0, description="inputs that share a scale; 0 is the whole channel")
    symmetric: bool = Field(True, description="zero in the middle of the grid; false spends bytes on zero points")
    clip: bool = Field(True, description="search the clipping of least squared error (below 8 bits)")

    def fits(self, site: Site) -> bool:
        """Everything that is multiplied or looked up, not the position tables."""
        return site.kind in ("linear", "conv", "embedding")

    @torch.no_grad()
    def apply(self, target: Tower, batches: Sequence[Batch], aids: Aids) -> Iterator[Note]:
        """Replace each site, and what is tied to it, by a layer of codes."""
        for site in self.chosen(target):
            reason = why_not_coded(site, self.group)
            if reason:
                yield Note(site.name, self.name, target.name, 32.0, skipped=reason)
                continue
            before = site.weight
            layer, size_bytes = self._convolution(site) if site.kind == "conv" else self._table(site)
            yield Note(
                site.name,
                self.name,
                target.name,
                8.0 * size_bytes / before.numel(),
                relative_error(before, layer.weight),  # type: ignore[arg-type]
                size_bytes=size_bytes,
            )

    def _table(self, site: Site) -> tuple[nn.Module, int]:
        """Linear layers and embeddings: one table, shared by all that are tied to it."""
        clip = self.clip and self.bits < 8
        codes = quantize(site.weight, self.bits, self.group, symmetric=self.symmetric, clip=clip)
        return place_codes(site, codes, (self.bits, self.group, self.symmetric))

    def _convolution(self, site: Site) -> tuple[nn.Module, int]:
        convolution = site.module
        assert isinstance(convolution, (nn.Conv1d, nn.Conv2d))
        layer = IntConv(convolution, self.bits)
        clip = self.clip and self.bits < 8
        layer.store(quantize(convolution.weight.flatten(1), self.bits, 0, symmetric=self.symmetric, clip=clip))
        site.replace(layer)
        return layer, layer.size_bytes
