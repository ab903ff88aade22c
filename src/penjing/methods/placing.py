"""Put integer codes in the place of float weights, and tell what the tower makes of it: what several methods share."""

from __future__ import annotations

from abc import ABC
from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from penjing.errors import RecipeError
from penjing.layers.bitmap import stored_bytes
from penjing.layers.dynamic import DynamicConv, DynamicLinear
from penjing.layers.recurrent import IntRecurrent, weight_matrices
from penjing.layers.static import StaticConv, StaticLinear
from penjing.layers.weight_only import IntConv, IntEmbedding, IntLinear, IntTable, release_floats
from penjing.methods.base import Method
from penjing.models.outputs import flat_output
from penjing.models.tower import RECURRENT, Batch, Site, Tower
from penjing.tensor.grid import TOP, Codes, is_pair_safe, quantize_pair_safe, relative_error
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
    """`place_codes`, told as a note. The float weights that the error is measured with are not kept."""
    before = site.weight.detach()
    layer, size_bytes = place_codes(site, codes, grid)
    error = relative_error(before, layer.weight)  # type: ignore[arg-type]
    release_floats(layer)
    return Note(site.name, method, tower, 8.0 * size_bytes / before.numel(), error, size_bytes=size_bytes)


def _layer_for(place: Site, table: IntTable) -> IntLinear | IntEmbedding:
    """The layer that reads a table at this place: rows for an embedding, products elsewhere."""
    if isinstance(place.module, nn.Embedding):
        scale = getattr(place.module, "embed_scale", 1.0)
        return IntEmbedding(table, float(scale), place.module.padding_idx)
    return IntLinear(table, place.bias)


Int8Layers = tuple[type[StaticLinear], type[StaticConv]]
"""Which layers have int8 weights and rounded inputs: the linear one and the convolution."""

STATIC: Int8Layers = (StaticLinear, StaticConv)
DYNAMIC: Int8Layers = (DynamicLinear, DynamicConv)


def why_not_int8(site: Site) -> str:
    """Say why a site cannot have int8 weights and rounded inputs; empty where it can."""
    if isinstance(site.module, (StaticLinear, StaticConv)):
        return "already int8 activations from an earlier step"
    if isinstance(site.module, (IntConv, IntEmbedding)):
        return "already integer codes from an earlier step"
    if site.tied:
        return f"its weights are also read by {site.tied[0].name}"
    return ""


def int8_layer(site: Site, method: str, layers: Int8Layers = STATIC) -> tuple[StaticLinear | StaticConv, float]:
    """Return the int8 layer for a site and the relative error of its weights; a static input range is still to be set.

    Args:
        site: a linear layer or a convolution, float or with codes of an earlier 8-bit step, which are kept.
        method: name of the method that asks.
        layers: the classes of linear layer and convolution.
    """
    module = site.module
    if isinstance(module, IntLinear):
        return int8_layer_of_codes(site.name, module, method, layers[0]), 0.0
    if isinstance(module, (nn.Conv1d, nn.Conv2d)):
        convolution = layers[1](module)
        # Kernels meet their inputs in another order in every engine: any two weights may become neighbours.
        scales = module.weight.abs().flatten(1).amax(1).clamp_min(1e-12) / 63
        codes = (module.weight / scales.view(-1, *[1] * (module.weight.dim() - 1))).round()
        convolution.codes.copy_(codes)
        convolution.scales.copy_(scales)
        return convolution, relative_error(module.weight, convolution.weight)
    codes, scales = quantize_pair_safe(site.weight)
    layer = layers[0](codes.shape[1], codes.shape[0], site.bias)
    layer.codes.copy_(codes.T)
    layer.scales.copy_(scales)
    return layer, relative_error(site.weight, layer.weight)


def int8_layer_of_codes(
    name: str, module: IntLinear, method: str, layer: type[StaticLinear] = StaticLinear
) -> StaticLinear:
    """Take over the codes of an 8-bit symmetric per-channel step; no engine runs any other under int8 activations.

    Such codes fill all of int8, so inputs get 7 bits: CPUs without VNNI sum two products in 16 bits, which 8 would
    saturate. Without an earlier step the codes are chosen pair-safe, and inputs keep their 8 bits.

    Raises RecipeError for other codes; `name` is the site's, `method` who asks.
    """
    table = module.table
    if table.bits != 8 or table.group or not table.symmetric:
        raise RecipeError(
            f"{method} cannot take over the {table.bits}-bit codes of {name}"
            f"{f' in groups of {table.group}' if table.group else ''}{'' if table.symmetric else ' with zero points'}",
            hint="give that step bits: 8, group: 0, symmetric: true, or other towers",
        )
    codes = (table.packed.flatten(1)[:, : table.width].to(torch.int16) - 128).to(torch.int8)
    taken = layer(table.width, table.rows, module.bias, TOP if is_pair_safe(codes) else TOP // 2)
    taken.codes.copy_(codes.T)
    taken.scales.copy_(table.scales[:, 0])
    return taken


def why_no_int8_activations(earlier: Method) -> str:
    """Why codes that an earlier step leaves cannot meet int8 activations in any engine; empty where they can."""
    if not earlier.leaves_codes:
        return ""
    if getattr(earlier, "bits", 8) != 8:
        return f"{getattr(earlier, 'bits', 8)}-bit codes cannot meet int8 activations"
    if getattr(earlier, "group", 0):
        return "codes in groups cannot meet int8 activations"
    return "" if getattr(earlier, "symmetric", True) else "codes with zero points cannot meet int8 activations"


def output_error(tower: Tower, batches: Sequence[Batch], wanted: Sequence[Tensor]) -> float:
    """Mean relative error of a tower's output over batches, against what it should be."""
    errors = [relative_error(want, flat_output(tower.run(batch))) for batch, want in zip(batches, wanted, strict=True)]
    return sum(errors) / len(errors)
