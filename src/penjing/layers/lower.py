"""The operators that compressed layers emit while a graph is exported: their own integer codes, never requantized.

A layer computes its reference in torch; under `torch.onnx.is_in_onnx_export()` it calls these instead, so that the
codes a method chose are the codes on disk.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

Attributes = dict[str, int | float | str | bool | Sequence[int] | Sequence[float] | Sequence[str] | Sequence[bool]]

INT8_ACTIVATIONS = 4
"""Accuracy level at which `MatMulNBits` may round activations to int8 on the fly; exact mode opens a graph with 0."""
FLOAT_ACTIVATIONS = 0
"""Accuracy level at which it may not. ONNX Runtime then dequantizes all weights at every call."""


def matmul_nbits(
    values: Tensor, packed: Tensor, scales: Tensor, zeros: Tensor | None, block: int, accuracy_level: int
) -> Tensor:
    """Emit com.microsoft::MatMulNBits. values (..., width), packed (out, groups, bytes), scales (out, groups)."""
    out, _, group_bytes = packed.shape
    inputs = [values, packed, scales] + ([zeros] if zeros is not None else [])
    attributes: Attributes = {
        "K": values.shape[-1],
        "N": out,
        "bits": group_bytes * 8 // block,
        "block_size": block,
        "accuracy_level": accuracy_level,
    }
    return torch.onnx.ops.symbolic(
        "com.microsoft::MatMulNBits",
        inputs,
        attributes,
        dtype=values.dtype,
        shape=(*values.shape[:-1], out),
        version=1,
    )


def clip(values: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Emit Clip between two numbers."""
    return torch.onnx.ops.symbolic("Clip", [values, low, high], {}, dtype=values.dtype, shape=values.shape, version=13)


def quantize_dequantize(values: Tensor, scale: Tensor, zero: Tensor) -> Tensor:
    """Emit QuantizeLinear and DequantizeLinear around values: uint8, one scale for the whole tensor."""
    codes = torch.onnx.ops.symbolic(
        "QuantizeLinear", [values, scale, zero], {}, dtype=torch.uint8, shape=values.shape, version=21
    )
    return dequantize(codes, scale, zero)


def dequantize(codes: Tensor, scale: Tensor, zero: Tensor, axis: int | None = None) -> Tensor:
    """Emit DequantizeLinear, per tensor or along an axis."""
    attributes: Attributes = {} if axis is None else {"axis": axis}
    return torch.onnx.ops.symbolic(
        "DequantizeLinear", [codes, scale, zero], attributes, dtype=torch.float32, shape=codes.shape, version=21
    )
