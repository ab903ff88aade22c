"""Put integer codes in the place of float weights, and tell what the tower makes of it: what several methods share."""

from __future__ import annotations

from abc import ABC
from collections.abc import Sequence
from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from penjing.layers.bitmap import stored_bytes
from penjing.layers.recurrent import IntRecurrent, weight_matrices
from penjing.layers.static import StaticConv, StaticLinear
from penjing.layers.weight_only import IntConv, IntEmbedding, IntLinear, IntTable
from penjing.methods.base import Method
from penjing.models.outputs import flat_output
from penjing.models.tower import RECURRENT, Batch, Site, Tower
from penjing.tensor.grid import Codes, quantize_pair_safe, relative_error
from penjing.values import Note

Grid = tuple[int, int, bool]
"""bits, group (0: the whole channel), symmetric."""


class Coded(Method, ABC):
    """What methods that store weights as codes have in common: the grid."""

    bits: Literal[8, 4, 3, 2] = Field(4, description="bits of a weight; 3-bit codes take 4 in the engines")
    group: Literal[0, 32, 64, 128] = Field(64, description="inputs that share a scale; 0 is the whole channel")
    symmetric: bool = Field(True, description="zero in the middle of the grid; false spends bytes on zero points")

    @property
    def grid(self) -> Grid:
        """The three together."""
        return self.bits, self.group, self.symmetric

    def fits(self, site: Site) -> bool:
        """Layers that multiply by a matrix."""
        return site.kind == "linear"


def why_not_coded(site: Site, group: int) -> str:
    """Say why a site cannot take codes in groups of so many inputs; empty where it can."""
    if isinstance(site.module, (IntLinear, IntEmbedding, IntConv, IntRecurrent, StaticLinear, StaticConv)):
        return "already integer codes from an earlier step"
    if site.kind == "conv" and group:
        return "a convolution has one scale per channel"
    matrices = weight_matrices(site.module).values() if isinstance(site.module, RECURRENT) else [site.weight]
    inputs = min(matrix.shape[1] for matrix in matrices)
    if group and inputs < group:
        return f"its {inputs} inputs are fewer than one group of {group}"
    return ""


def place_codes(site: Site, codes: Codes, grid: Grid) -> tuple[nn.Module, int]:
    """Replace a linear layer or an embedding, and whatever is tied to it, by layers that share one table of codes.

    Returns the layer at the site itself, and the bytes that it is stored in.
    """
    rows, width = site.weight.shape
    table = IntTable(rows, width, *grid)
    table.store(codes)
    for place in (site, *site.tied):
        place.replace(_layer_for(place, table))
    return site.module, stored_bytes(site.module)


def code_site(site: Site, codes: Codes, grid: Grid, method: str, tower: str) -> Note:
    """`place_codes`, told as a note."""
    before = site.weight.detach().clone()
    layer, size_bytes = place_codes(site, codes, grid)
    error = relative_error(before, layer.weight)  # type: ignore[arg-type]
    return Note(site.name, method, tower, 8.0 * size_bytes / before.numel(), error, size_bytes=size_bytes)


def _layer_for(place: Site, table: IntTable) -> IntLinear | IntEmbedding:
    """The layer that reads a table at this place: rows for an embedding, products elsewhere."""
    if isinstance(place.module, nn.Embedding):
        scale = getattr(place.module, "embed_scale", 1.0)
        return IntEmbedding(table, float(scale), place.module.padding_idx)
    return IntLinear(table, place.bias)


def int8_layer(site: Site) -> tuple[StaticLinear | StaticConv, float]:
    """The int8 layer for a float site, its input range still to be set, and the relative error of its weights."""
    module = site.module
    if isinstance(module, (nn.Conv1d, nn.Conv2d)):
        convolution = StaticConv(module)
        # Kernels meet their inputs in another order in every engine: any two weights may become neighbours.
        scales = module.weight.abs().flatten(1).amax(1).clamp_min(1e-12) / 63
        codes = (module.weight / scales.view(-1, *[1] * (module.weight.dim() - 1))).round()
        convolution.codes.copy_(codes)
        convolution.scales.copy_(scales)
        return convolution, relative_error(module.weight, convolution.weight)
    codes, scales = quantize_pair_safe(site.weight)
    layer = StaticLinear(codes.shape[1], codes.shape[0], site.bias)
    layer.codes.copy_(codes.T)
    layer.scales.copy_(scales)
    return layer, relative_error(site.weight, layer.weight)


def output_error(tower: Tower, batches: Sequence[Batch], wanted: Sequence[Tensor]) -> float:
    """Mean relative error of a tower's output over batches, against what it should be."""
    errors = [relative_error(want, flat_output(tower.run(batch))) for batch, want in zip(batches, wanted, strict=True)]
    return sum(errors) / len(errors)
