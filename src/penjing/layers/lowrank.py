"""A linear layer as two thin ones; both are plain linear layers, so that later steps find them and compress them."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from penjing.layers.described import DescribedLayer, Description


class LowRankLinear(DescribedLayer):
    """y = A (B x) + b with `down` = B (rank, in) and `up` = A (out, rank). x (..., in) -> (..., out)."""

    is_structure: ClassVar[bool] = True

    def __init__(self, width: int, rank: int, out: int, *, bias: bool) -> None:
        super().__init__()
        self.in_features, self.out_features, self.rank = width, out, rank
        self.down = nn.Linear(width, rank, bias=False)
        self.up = nn.Linear(rank, out, bias=bias)
        self.requires_grad_(False)

    @classmethod
    def of(cls, up: Tensor, down: Tensor, bias: Tensor | None) -> Self:
        """The layer of these matrices: up (out, rank), down (rank, in), bias (out,) or None."""
        layer = cls(down.shape[1], len(down), len(up), bias=bias is not None)
        with torch.no_grad():
            layer.up.weight.copy_(up)
            layer.down.weight.copy_(down)
            if bias is not None:
                layer.up.bias.copy_(bias)
        return layer.eval()

    def describe(self) -> dict[str, Any]:
        """Its shape, and whether a bias is added."""
        described = {"in": self.in_features, "rank": self.rank, "out": self.out_features}
        return {**described, "bias": getattr(self.up, "bias", None) is not None}

    @classmethod
    def blank(cls, spec: Description, original: nn.Module | None) -> Self:
        """An empty layer of this shape."""
        return cls(spec["in"], spec["rank"], spec["out"], bias=spec["bias"])

    @property
    def weight(self) -> Tensor:
        """The matrix that both make together, (out, in)."""
        up, down = self.up.weight, self.down.weight
        assert isinstance(up, Tensor)
        assert isinstance(down, Tensor)
        return up @ down

    @property
    def bias(self) -> Tensor | None:
        """The bias (out,), or None."""
        bias = self.up.bias
        return bias if isinstance(bias, Tensor) else None

    def forward(self, values: Tensor) -> Tensor:
        """Apply one after the other."""
        found: Tensor = self.up(self.down(values))
        return found
