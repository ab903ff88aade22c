"""Quantization grids: round(W / s) · s with one scale per group of inputs, and the scale that loses least.

All weights are (out, in). A group is a run of `group` inputs of one output channel that shares a scale; group 0 is the
whole channel. Codes are unsigned; a code c stands for (c - zero) · scale, and symmetric grids have zero = 2^(bits-1),
which is what both engines assume of `MatMulNBits` without a zero-point input.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

PAIR_LIMIT = 128
"""Largest sum of two neighbouring int8 weights of one sign that cannot saturate 16 bits: 255 · 128 < 2^15."""

TOP = 255
"""Largest code of an activation. With 127, int8 weights of any size are safe: 127 · (128 + 128) < 2^15."""

TINY = 1e-12
"""Smallest scale: a group of zeros gets it instead of a division by zero."""

SHRINKS = tuple(1.0 - 0.02 * step for step in range(26))
"""Clipping ratios tried by the MSE search: 1.00 down to 0.50."""


class Codes(NamedTuple):
    """Integer codes of a weight matrix: codes (out, groups, group) uint8, scales and zeros (out, groups)."""

    codes: Tensor
    scales: Tensor
    zeros: Tensor

    def dequantize(self, width: int) -> Tensor:
        """Return the weights the codes stand for, (out, width) float32; padding beyond width is cut."""
        dense = (self.codes.float() - self.zeros.unsqueeze(-1)) * self.scales.unsqueeze(-1)
        return dense.flatten(1)[:, :width]


def to_groups(weight: Tensor, group: int) -> Tensor:
    """Cut each row into groups: (out, in) -> (out, ceil(in / group), group), the last one padded with zeros."""
    out, width = weight.shape
    group = group or width
    padding = -width % group
    return nn.functional.pad(weight, (0, padding)).reshape(out, -1, group)


def fit_symmetric(groups: Tensor, bits: int, shrink: float | Tensor = 1.0) -> tuple[Tensor, Tensor]:
    """Scales and zeros of a symmetric grid, s = shrink · max|w| / (2^(bits-1) - 1): (..., group) -> two (...)."""
    half = 2 ** (bits - 1)
    # Two bits keep all four codes: with 2^(bits-1) - 1 = 1 the code -2 would lie beyond the largest weight.
    steps = half - 1 if bits > 2 else 1.5
    scales = (groups.abs().amax(-1) * shrink / steps).clamp_min(TINY)
    return scales, torch.full_like(scales, half)


def fit_asymmetric(groups: Tensor, bits: int, shrink: float | Tensor = 1.0) -> tuple[Tensor, Tensor]:
    """Scales and integer zeros of a grid over [min, max], zero included. groups (..., group) -> two (...)."""
    low = (groups.amin(-1) * shrink).clamp_max(0)
    high = (groups.amax(-1) * shrink).clamp_min(0)
    scales = ((high - low) / (2**bits - 1)).clamp_min(TINY)
    return scales, (-low / scales).round().clamp(0, 2**bits - 1)


def encode(groups: Tensor, scales: Tensor, zeros: Tensor, bits: int) -> Tensor:
    """Nearest codes, round(w / s) + z, halves to even as ONNX rounds: (..., group) -> (..., group), whole floats."""
    return ((groups / scales.unsqueeze(-1)).round() + zeros.unsqueeze(-1)).clamp(0, 2**bits - 1)


def quantize(
    weight: Tensor,
    bits: int,
    group: int = 0,
    *,
    symmetric: bool = True,
    clip: bool = False,
    importance: Tensor | None = None,
) -> Codes:
    """Round weights (out, in) to the nearest point of their grid.

    `clip` searches the shrink of least squared error, in which input j counts `importance[j]` times (in,).
    """
    groups = to_groups(weight.detach().float(), group)
    if clip:
        scales, zeros = fit_grid(weight, bits, group, symmetric=symmetric, importance=importance)
    else:
        scales, zeros = (fit_symmetric if symmetric else fit_asymmetric)(groups, bits)
    return Codes(encode(groups, scales, zeros, bits).to(torch.uint8), scales, zeros)


def fit_grid(
    weight: Tensor, bits: int, group: int, *, symmetric: bool = True, importance: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Scales and zeros (out, groups) of least squared error: every shrink is tried on every group of (out, in) weights.

    Never worse than no clipping, which is tried first. `importance` (in,) says how much an input's error counts.
    """
    groups = to_groups(weight.detach().float(), group)
    fit = fit_symmetric if symmetric else fit_asymmetric
    best_scales, best_zeros = fit(groups, bits)
    best = torch.full_like(best_scales, torch.inf)
    counts = None if importance is None else to_groups(importance[None].float(), group)
    for shrink in SHRINKS:
        scales, zeros = fit(groups, bits, shrink)
        squares = ((encode(groups, scales, zeros, bits) - zeros.unsqueeze(-1)) * scales.unsqueeze(-1) - groups).square()
        error = squares.sum(-1) if counts is None else (squares * counts).sum(-1)
        better = error < best
        best = torch.where(better, error, best)
        best_scales = torch.where(better, scales, best_scales)
        best_zeros = torch.where(better, zeros, best_zeros)
    return best_scales, best_zeros


def quantize_pair_safe(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Round weights (out, in) to int8, one scale per row, such that no 16-bit lane ever saturates on any CPU.

    Chips without VNNI multiply uint8 activations by int8 weights and add neighbours (2k, 2k+1) in 16 bits
    (`vpmaddubsw`), which saturates: 255 · (|a| + |b|) must stay below 2^15, so |a| + |b| <= 128 for neighbours of one
    sign. Widening the scale by the largest such pair costs about 15% of a step; the usual remedy, 7-bit weights,
    costs a whole bit.
    Returns codes (out, in) int8 and scales (out,).
    """
    weight = weight.detach().float()
    padded = nn.functional.pad(weight, (0, weight.shape[1] % 2)).reshape(weight.shape[0], -1, 2)
    pair = torch.maximum(padded.clamp_min(0).sum(-1), padded.clamp_max(0).sum(-1).abs()).amax(1)
    scales = torch.maximum(weight.abs().amax(1) / 127, pair / (PAIR_LIMIT - 1)).clamp_min(TINY)
    return (weight / scales.unsqueeze(1)).round().clamp(-127, 127).to(torch.int8), scales


def is_pair_safe(codes: Tensor) -> bool:
    """Return whether no two neighbours (2k, 2k+1) of one sign sum to more than PAIR_LIMIT. codes (out, in) int8."""
    pairs = nn.functional.pad(codes.to(torch.int16), (0, codes.shape[1] % 2)).reshape(codes.shape[0], -1, 2)
    sums = torch.maximum(pairs.clamp_min(0).sum(-1), -pairs.clamp_max(0).sum(-1))
    return bool((sums <= PAIR_LIMIT).all())


def relative_error(weight: Tensor, rounded: Tensor) -> float:
    """‖W - Ŵ‖ / ‖W‖, 0 for an all-zero matrix."""
    weight, rounded = weight.detach().float(), rounded.detach().float()
    norm = weight.norm()
    return float((weight - rounded).norm() / norm) if norm > 0 else 0.0


def activation_grid(low: float, high: float, top: int = TOP) -> tuple[float, int]:
    """Scale and zero point of the grid of codes 0 to `top` that covers [low, high] and contains zero exactly."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = max((high - low) / top, TINY)
    return scale, int(min(max(round(-low / scale), 0), top))


def fake_quantize(values: Tensor, scale: Tensor, zero: Tensor, top: int = TOP) -> Tensor:
    """What QuantizeLinear then DequantizeLinear give: values rounded to the uint8 grid (ONNX operators 13)."""
    return (values / scale).round_().add_(zero).clamp_(0, top).sub_(zero).mul_(scale)


def round_blocks(values: Tensor, block: int) -> Tensor:
    """Values (..., width) on the symmetric int8 grid of each run of `block` of them, s = max|x| / 127.

    It is what ONNX Runtime's `MatMulNBits` does to activations at accuracy level 4, whatever the bits of the weights:
    its products of activations rounded here agree to 1e-6 (8 bits, blocks of 16, 32 and 64).
    """
    width = values.shape[-1]
    blocks = nn.functional.pad(values, (0, -width % block)).reshape(*values.shape[:-1], -1, block)
    steps = (blocks.abs().amax(-1, keepdim=True) / 127).clamp_min(TINY)
    rounded: Tensor = (blocks / steps).round() * steps
    return rounded.flatten(-2)[..., :width]
