"""Int8 products for OpenVINO on chips without VNNI: a matrix product as the convolution that it also is.

There OpenVINO multiplies int8 matrices in `jit_gemm_I8`, slower than its own float32 (400 × 512 × 512 on two AVX2
cores: 57 against 79 GMAC/s), but convolves a width of one in `jit_avx2_1x1_I8` at 134 GMAC/s. Both keep channels last
in memory, so that the engine drops the transpositions.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from penjing.values import Array

DEQUANTIZING = ("Multiply", "Subtract", "Convert", "Reshape")
"""What OpenVINO makes of a DequantizeLinear: (Convert(codes) - Reshape(zeros)) * Reshape(scales)."""


def products_as_convolutions(model: Any) -> int:
    """Rewrite every product of uint8 (batch, tokens, in) and int8 (in, out) of an OpenVINO model in place.

    Returns how many there were. The numbers stay the same: both sum the same integers.
    """
    products = [node for node in model.get_ordered_ops() if node.get_type_name() == "MatMul" and _is_int8(node)]
    for product in products:
        _rewrite(product)
    return len(products)


def _is_int8(product: Any) -> bool:
    """Whether three axes meet two, nothing transposed, values from a fixed grid meet symmetric int8 weights."""
    flags = product.get_attributes()
    ranks = [len(port.get_partial_shape()) for port in product.input_values()]
    values, weights = (port.get_node() for port in product.input_values())
    if flags["transpose_a"] or flags["transpose_b"] or ranks != [3, 2] or weights.get_type_name() != "Multiply":
        return False
    shift, scales = weights.input_value(0).get_node(), weights.input_value(1)
    if shift.get_type_name() == "Subtract":
        zeros = _origin(shift.input_value(1).get_node())
        if zeros.get_type_name() != "Constant" or zeros.data.any():
            return False
        shift = shift.input_value(0).get_node()
    codes, factors = _origin(shift), _origin(scales.get_node())
    if shift.get_type_name() != "Convert" or {codes.get_type_name(), factors.get_type_name()} != {"Constant"}:
        return False
    per_column = list(scales.get_shape()) in ([], [1], [1, 1], [1, codes.data.shape[-1]])
    return codes.data.dtype == np.int8 and per_column and _origin(values).get_type_name() == "FakeQuantize"


def _origin(node: Any) -> Any:
    """The node whose values a dequantization begins with."""
    while node.get_type_name() in DEQUANTIZING:
        node = node.input_value(0).get_node()
    return node


def _rewrite(product: Any) -> None:
    """(batch, tokens, in) -> (batch, in, tokens) * (out, in, 1) + bias -> (batch, out, tokens) -> (batch, tokens, out).

    A bias that follows is added in the convolution's own layout, or the engine would move the product for its sake.
    """
    from openvino import opset13 as opset

    weights = product.input_value(1).get_node()
    codes: Array = _origin(weights).data
    scales: Array = _origin(weights.input_value(1).get_node()).data
    kernel = opset.multiply(
        opset.convert(opset.constant(np.ascontiguousarray(codes.T[:, :, None])), "f32"),
        opset.constant(_column(scales, codes.shape[1])[:, None]),
    )
    swap = opset.constant(np.array([0, 2, 1]))
    convolved = opset.convolution(opset.transpose(product.input_value(0), swap), kernel, [1], [0], [0], [1])
    last, bias = _bias_after(product)
    if bias is not None:
        convolved = opset.add(convolved, opset.constant(_column(bias, codes.shape[1])))
    answer = opset.transpose(convolved, swap)
    answer.set_friendly_name(last.get_friendly_name())
    for reader in last.output(0).get_target_inputs():
        reader.replace_source_output(answer.output(0))


def _bias_after(product: Any) -> tuple[Any, Array | None]:
    """The addition of a constant row that alone reads the product, and that row; else the product itself and None."""
    readers = list(product.output(0).get_target_inputs())
    reader = readers[0].get_node() if len(readers) == 1 else product
    if reader.get_type_name() == "Add":
        for port in reader.input_values():
            term = port.get_node()
            if term.get_type_name() == "Constant" and term.data.ndim == 1:
                return reader, term.data
    return product, None


def _column(row: Array, length: int) -> Array:
    return np.broadcast_to(row, (length,)).reshape(-1, 1).astype(np.float32)
