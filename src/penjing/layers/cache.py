"""Keys and values of a decoder as int8: the grid they are rounded to."""

from __future__ import annotations

from typing import Any, Self

import torch
from torch import Tensor, nn

from penjing.layers.described import DescribedLayer, Description

TOP = 127
SMALLEST_STEP = 1e-8


class CacheGrid(DescribedLayer):
    """Steps of int8 keys and values, one per layer, key head and channel: each (layers, heads, 1, width).

    Keys keep their large channels at every token (KIVI, arXiv:2402.02750, section 3), so a step per channel fits them,
    and it needs no room beside the codes.
    """

    keys: Tensor
    values: Tensor

    def __init__(self, layers: int, heads: int, width: int) -> None:
        super().__init__()
        self.register_buffer("keys", torch.ones(layers, heads, 1, width))
        self.register_buffer("values", torch.ones(layers, heads, 1, width))

    def describe(self) -> dict[str, Any]:
        """Its shape."""
        return {"shape": [*self.keys.shape]}

    @classmethod
    def blank(cls, spec: Description, original: nn.Module | None) -> Self:
        """An empty grid of this shape."""
        layers, heads, _, width = spec["shape"]
        return cls(layers, heads, width)

    def fit(self, keys: Tensor, values: Tensor) -> None:
        """Take the largest magnitudes, each (layers, heads, 1, width)."""
        self.keys.copy_((keys / TOP).clamp_min(SMALLEST_STEP))
        self.values.copy_((values / TOP).clamp_min(SMALLEST_STEP))


def to_codes(found: Tensor, step: Tensor) -> Tensor:
    """Round (batch, heads, tokens, width) to int8 codes; what lies beyond the grid goes to its end."""
    return (found / step).round().clamp(-TOP, TOP).to(torch.int8)


def cache_grid(net: nn.Module) -> CacheGrid | None:
    """The grid of a network's cache; None where it is kept in float."""
    return next((module for module in net.modules() if isinstance(module, CacheGrid)), None)
