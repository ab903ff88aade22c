"""Layers with int8 weights whose activations are rounded to int8 while the model runs, by a range that each row has.

A row is divided by its largest absolute value, which brings it to [-1, 1]; that range has one fixed grid, so what
follows is the QuantizeLinear / DequantizeLinear graph of `static`, and the product is multiplied by the row's value
again. ONNX Runtime and OpenVINO both multiply int8 by int8 there, as they do for static ranges, and no operator
beyond plain ONNX is needed. Rows are tokens for a linear layer (per-token quantization as in ZeroQuant, Yao et al.
2022, arXiv:2206.01861) and items for a convolution.

The reference in PyTorch has float activations, as that of `weight_only` has: in exact mode engines leave the rounding
out (`penjing.runtimes.unrounded`). `rounds` puts it in where its cost is measured.
"""

from __future__ import annotations

from typing import Any, Self

import torch
from torch import Tensor, nn

from penjing.layers.described import Description
from penjing.layers.geometry import convolution
from penjing.layers.lower import dequantize, quantize_dequantize
from penjing.layers.static import StaticConv, StaticLinear
from penjing.tensor.grid import TINY, TOP


class DynamicInput(nn.Module):
    """The grid of a layer's input: every row's own symmetric one, of which codes 1 to `top` are used.

    It has the interface of `StaticInput`, but holds nothing that could be stored or learned.
    """

    def __init__(self, axes: int, top: int = TOP) -> None:
        """`axes`: how many of the last axes make a row."""
        super().__init__()
        self.axes, self.top = axes, top
        self.log_factor: nn.Parameter | None = None

    @property
    def grid(self) -> tuple[float, int, int]:
        """Scale, zero point and largest code of rows whose largest absolute value is 1."""
        zero = (self.top + 1) // 2
        return 1.0 / (zero - 1), zero, self.top

    def learn(self) -> None:
        """Nothing of it can be learned."""

    def settle(self) -> None:
        """Nothing was learned."""

    def largest(self, values: Tensor) -> Tensor:
        """The largest absolute value of every row, (..., 1) with as many ones as a row has axes; never 0.

        Of two reductions, because engines write |x| to memory before they reduce it (Whisper base, OpenVINO: the
        encoder took a tenth longer that way).
        """
        axes = tuple(range(-self.axes, 0))
        largest = torch.maximum(values.amax(axes, keepdim=True), -values.amin(axes, keepdim=True))
        return torch.maximum(largest, torch.tensor(TINY))  # `clamp_min` would become two operators in OpenVINO

    def forward(self, values: Tensor) -> Tensor:
        """Round values as a deployed engine does: for measuring what that costs, not for the reference."""
        scale, zero, top = self.grid
        largest = self.largest(values)
        return (values / largest / scale).round().clamp(-zero, top - zero) * (scale * largest)

    def lower(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """While exporting: values divided by their row's largest and rounded by two operators, and those largest."""
        scale, zero, _ = self.grid
        largest = self.largest(values)
        constants = torch.tensor(scale, dtype=torch.float32), torch.tensor(zero, dtype=torch.uint8)
        return quantize_dequantize(values / largest, *constants), largest


class DynamicLinear(StaticLinear):
    """y = Q(x) Ŵᵀ + b, Q per row of x. x (..., in) -> (..., out); codes are stored (in, out)."""

    input: DynamicInput  # type: ignore[assignment]
    rounds: bool = False
    """whether inputs are rounded in PyTorch too, as a deployed engine does"""

    def __init__(self, in_features: int, out_features: int, bias: Tensor | None, top: int = TOP) -> None:
        super().__init__(in_features, out_features, bias)
        self.input = DynamicInput(1, top)

    @property
    def size_bytes(self) -> int:
        """Bytes of codes, scales and zero points of the weights."""
        return self.codes.numel() + 5 * self.scales.numel()

    def forward(self, values: Tensor) -> Tensor:
        """Apply the layer to float activations; while exporting, emit the codes and the rounding."""
        if not torch.onnx.is_in_onnx_export():
            return nn.functional.linear(self.input(values) if self.rounds else values, self.weight, self.bias)
        rounded, largest = self.input.lower(values)
        product = torch.matmul(rounded, dequantize(self.codes, self.scales, self.zeros, axis=1)) * largest
        return product if self.bias is None else product + self.bias


class DynamicConv(StaticConv):
    """A convolution with int8 weights whose input is rounded item by item."""

    input: DynamicInput  # type: ignore[assignment]
    rounds: bool = False
    """whether inputs are rounded in PyTorch too, as a deployed engine does"""

    def __init__(self, like: nn.Conv1d | nn.Conv2d) -> None:
        super().__init__(like)
        self.input = DynamicInput(like.weight.dim() - 1)

    @classmethod
    def blank(cls, spec: Description, original: nn.Module | None) -> Self:
        """An empty layer like the original."""
        return cls(convolution(original))

    def describe(self) -> dict[str, Any]:
        """Nothing: all is the original's."""
        return {}

    @property
    def size_bytes(self) -> int:
        """Bytes of codes, scales and zero points of the weights."""
        return self.codes.numel() + 5 * self.scales.numel()

    def forward(self, values: Tensor) -> Tensor:
        """Convolve float activations; while exporting, emit the codes and the rounding."""
        if not torch.onnx.is_in_onnx_export():
            return self.geometry.convolve(self.input(values) if self.rounds else values, self.weight, self.bias)
        rounded, largest = self.input.lower(values)
        kernel = dequantize(self.codes, self.scales, self.zeros, axis=0)
        convolved = self.geometry.convolve(rounded, kernel, None) * largest
        return convolved if self.bias is None else convolved + self.bias.view(-1, *[1] * (self.codes.dim() - 2))
