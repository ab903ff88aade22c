"""Round to nearest: the calibration-free baseline, and good enough at 8 bits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import nn

from penjing.layers.bitmap import stored_bytes
from penjing.layers.recurrent import IntRecurrent, weight_matrices
from penjing.layers.weight_only import IntConv
from penjing.methods.base import Aids, method
from penjing.methods.placing import Coded, code_site, why_not_coded
from penjing.models.tower import RECURRENT, Batch, Role, Site, Tower
from penjing.tensor.grid import quantize, relative_error
from penjing.values import Note


@method("rtn")
class Rtn(Coded):
    """Round every weight to the nearest point of a grid of 2^bits, one scale per channel or per group of inputs.

    In a recipe: `{method: rtn, bits: 4, group: 64, towers: [decoder]}`.
    Symmetric: s = max|w| / (2^(bits-1) - 1), code = round(w / s). Asymmetric: the grid spans [min, max].
    """

    # An untied output head decides between near-equal words: it stays float unless a recipe names it.
    roles: ClassVar[tuple[Role, ...]] = ("encoder", "decoder", "connector", "embedding")

    bits: Literal[8, 4, 3, 2] = Field(8, description="bits of a weight; 3-bit codes take 4 in the engines")
    group: Literal[0, 32, 64, 128] = Field(0, description="inputs that share a scale; 0 is the whole channel")
    clip: bool = Field(True, description="search the clipping of least squared error (below 8 bits)")

    def fits(self, site: Site) -> bool:
        """Everything that is multiplied or looked up, not the position tables."""
        return site.kind in ("linear", "conv", "embedding", "recurrent")

    @torch.no_grad()
    def apply(self, target: Tower, batches: Sequence[Batch], aids: Aids) -> Iterator[Note]:
        """Replace each site, and what is tied to it, by a layer of codes."""
        for site in self.chosen(target):
            reason = why_not_coded(site, self.group)
            if reason:
                yield Note(site.name, self.name, target.name, 32.0, skipped=reason)
                continue
            if site.kind == "conv":
                yield self._convolution(site, target.name)
            elif site.kind == "recurrent":
                yield self._recurrent(site, target.name)
            else:
                codes = quantize(site.weight, *self.grid[:2], symmetric=self.symmetric, clip=self._clips)
                yield code_site(site, codes, self.grid, self.name, target.name)

    @property
    def _clips(self) -> bool:
        return self.clip and self.bits < 8

    def _convolution(self, site: Site, tower: str) -> Note:
        convolution = site.module
        assert isinstance(convolution, (nn.Conv1d, nn.Conv2d))
        layer, before = IntConv(convolution, self.bits), convolution.weight
        layer.store(quantize(before.flatten(1), self.bits, 0, symmetric=self.symmetric, clip=self._clips))
        site.replace(layer)
        error, size_bytes = relative_error(before, layer.weight), stored_bytes(layer)
        return Note(site.name, self.name, tower, 8.0 * size_bytes / before.numel(), error, size_bytes=size_bytes)

    def _recurrent(self, site: Site, tower: str) -> Note:
        before = site.weight
        assert isinstance(site.module, RECURRENT)
        layer, matrices = IntRecurrent(site.module, *self.grid), weight_matrices(site.module)
        for name, table in layer.tables.items():
            table.store(quantize(matrices[name], *self.grid[:2], symmetric=self.symmetric, clip=self._clips))
        site.replace(layer)
        error, bits = relative_error(before, layer.weight), 8.0 * layer.size_bytes / before.numel()
        return Note(site.name, self.name, tower, bits, error, size_bytes=layer.size_bytes)
