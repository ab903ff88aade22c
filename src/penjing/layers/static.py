"""Layers with int8 weights and statically quantized uint8 activations (W8A8): QuantizeLinear / DequantizeLinear graphs.

Activations are uint8 with one scale and zero point for the tensor, weights int8 symmetric with one scale per output
channel: the one combination that is fast in ONNX Runtime (S8S8 is three times slower there) and in OpenVINO.
"""

from __future__ import annotations

from typing import Any, Self

import torch
from torch import Tensor, nn

from penjing.layers.described import DescribedLayer, Description
from penjing.layers.geometry import Geometry, convolution, resemble
from penjing.layers.learned import LearnedGrid
from penjing.layers.lower import clip, dequantize, quantize_dequantize
from penjing.tensor.grid import TOP, activation_grid, fake_quantize
from penjing.tensor.learned import learned_grid


class StaticInput(nn.Module):
    """The grid of a layer's input: x -> its nearest point on a fixed uint8 grid, of which codes 0 to `top` are used."""

    scale: Tensor
    zero: Tensor

    def __init__(self, top: int = TOP) -> None:
        super().__init__()
        self.top = top
        self.register_buffer("scale", torch.tensor(1.0, dtype=torch.float32))
        self.register_buffer("zero", torch.tensor(0, dtype=torch.uint8))
        self.log_factor: nn.Parameter | None = None

    @property
    def grid(self) -> tuple[float, int, int]:
        """Scale, zero point and largest code."""
        return float(self.scale), int(self.zero), self.top

    def learn(self) -> None:
        """Let the scale be learned, by its logarithm, until `settle`."""
        self.log_factor = nn.Parameter(torch.zeros(()))

    @torch.no_grad()
    def settle(self) -> None:
        """Take the scale that was learned."""
        assert self.log_factor is not None
        self.scale.mul_(self.log_factor.exp())
        self.log_factor = None

    def cover(self, low: float, high: float) -> None:
        """Choose the grid that covers this range."""
        scale, zero = activation_grid(low, high, self.top)
        self.scale.fill_(scale)
        self.zero.fill_(zero)

    def forward(self, values: Tensor) -> Tensor:
        """Round to the grid; while exporting, emit the two operators."""
        zero = self.zero.float()
        if self.log_factor is not None:
            return learned_grid(values, self.scale * self.log_factor.exp(), zero, self.top)
        if not torch.onnx.is_in_onnx_export():
            through = torch.is_grad_enabled() and values.requires_grad
            return (learned_grid if through else fake_quantize)(values, self.scale, zero, self.top)
        if self.top < TOP:
            values = clip(values, -zero * self.scale, (self.top - zero) * self.scale)
        return quantize_dequantize(values, self.scale, self.zero)


class Static(DescribedLayer):
    """What both layers share: codes that stay what they are, while scales of weights and input may be learned.

    Which neighbours may stand beside each other in 16 bits was settled with the codes.
    """

    input: StaticInput
    codes: Tensor
    scales: Tensor
    learned: LearnedGrid | None

    def learn(self, rounds: bool, mask: Tensor | None = None) -> LearnedGrid:
        """Let scales be learned until `settle`; codes are not, whatever `rounds` says."""
        column = (1, -1) if isinstance(self, StaticLinear) else (-1, *[1] * (self.codes.dim() - 1))
        scales = self.scales.view(column)
        self.learned = LearnedGrid(self.codes.float() * scales, scales, torch.zeros_like(scales), 0, False)
        self.input.learn()
        return self.learned

    def settle(self) -> None:
        """Take the scales that were learned."""
        assert self.learned is not None
        _, scales = self.learned.settled()
        self.scales.copy_(scales.flatten())
        self.learned = None
        self.input.settle()


class StaticLinear(Static):
    """y = Q(x) Ŵᵀ + b. Codes are kept (in, out), as MatMul reads them. x (..., in) -> (..., out).

    `top` is the largest code of the input. It is 127 for weights with neighbours that sum to more than PAIR_LIMIT:
    under inputs of 8 bits those would saturate 16 bits on chips without VNNI and give wrong numbers.
    """

    zeros: Tensor

    def __init__(self, in_features: int, out_features: int, bias: Tensor | None, top: int = TOP) -> None:
        super().__init__()
        self.in_features, self.out_features, self.learned = in_features, out_features, None
        self.input = StaticInput(top)
        self.register_buffer("codes", torch.zeros(in_features, out_features, dtype=torch.int8))
        self.register_buffer("scales", torch.ones(out_features))
        self.register_buffer("zeros", torch.zeros(out_features, dtype=torch.int8))
        self.bias = None if bias is None else nn.Parameter(bias.detach().clone(), requires_grad=False)

    def describe(self) -> dict[str, Any]:
        """Its shape and the largest code of its input."""
        shape = {"rows": self.out_features, "width": self.in_features}
        return {**shape, "bias": self.bias is not None, "top": self.input.top}

    @classmethod
    def blank(cls, spec: Description, original: nn.Module | None) -> Self:
        """An empty layer of this shape."""
        bias = torch.zeros(spec["rows"]) if spec["bias"] else None
        return cls(spec["width"], spec["rows"], bias, spec["top"])

    @property
    def weight(self) -> Tensor:
        """The dequantized weights (out, in)."""
        if self.learned is not None:
            learned: Tensor = self.learned()
            return learned.T
        return (self.codes.float() * self.scales).T

    @property
    def size_bytes(self) -> int:
        """Bytes of codes, scales and zero points."""
        return self.codes.numel() + 5 * self.scales.numel() + 5

    def forward(self, values: Tensor) -> Tensor:
        """Apply the layer; while exporting, emit its own codes."""
        rounded = self.input(values)
        if torch.onnx.is_in_onnx_export():
            product = torch.matmul(rounded, dequantize(self.codes, self.scales, self.zeros, axis=1))
        else:
            product = torch.matmul(rounded, self.weight.T)
        return product if self.bias is None else product + self.bias


class StaticConv(Static):
    """A convolution with int8 weights and a statically quantized input."""

    zeros: Tensor

    def __init__(self, like: nn.Conv1d | nn.Conv2d) -> None:
        super().__init__()
        self.shape, self.learned = tuple(like.weight.shape), None
        self.geometry = Geometry(like)
        resemble(self, like)
        self.input = StaticInput()
        self.register_buffer("codes", torch.zeros(self.shape, dtype=torch.int8))
        self.register_buffer("scales", torch.ones(self.shape[0]))
        self.register_buffer("zeros", torch.zeros(self.shape[0], dtype=torch.int8))
        self.bias = None if like.bias is None else nn.Parameter(like.bias.detach().clone(), requires_grad=False)

    def describe(self) -> dict[str, Any]:
        """Nothing: all is the original's."""
        return {}

    @classmethod
    def blank(cls, spec: Description, original: nn.Module | None) -> Self:
        """An empty layer like the original."""
        return cls(convolution(original))

    @property
    def weight(self) -> Tensor:
        """The dequantized kernel."""
        if self.learned is not None:
            learned: Tensor = self.learned()
            return learned
        return self.codes.float() * self.scales.view(-1, *[1] * (len(self.shape) - 1))

    @property
    def size_bytes(self) -> int:
        """Bytes of codes, scales and zero points."""
        return self.codes.numel() + 5 * self.scales.numel() + 5

    def forward(self, values: Tensor) -> Tensor:
        """Convolve the rounded input; while exporting, emit the codes."""
        rounded = self.input(values)
        exporting = torch.onnx.is_in_onnx_export()
        weight = dequantize(self.codes, self.scales, self.zeros, axis=0) if exporting else self.weight
        return self.geometry.convolve(rounded, weight, self.bias)
