"""Graphs whose activations are rounded by ranges of their own rows, without that rounding: what exact mode opens.

Such a rounding (`penjing.layers.dynamic`) is x / max|x|, then QuantizeLinear and DequantizeLinear. Whoever reads the
dequantized values reads the quotient instead. Static ranges are part of what a model is, and stay.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

Value = TypeVar("Value")

CONSTANT, INPUT = "Constant", "Parameter"
REDUCING = ("ReduceMax", "ReduceMin")
COMBINING = ("Abs", "Neg", "Negative", "Max", "Maximum")
"""Operators between reductions and the divisor, by their names in ONNX and in OpenVINO."""

DEQUANTIZING = ("Convert", "Subtract", "Multiply")
"""What OpenVINO makes of the two operators, behind its FakeQuantize."""


def unround_onnx(graph: Any) -> int:
    """Take the rounding out of an `onnx.GraphProto`, in place; returns how many readers it had."""
    makers = {name: node for node in graph.node for name in node.output}
    constants = {tensor.name for tensor in graph.initializer}
    quotients = {}
    for node in graph.node:
        if node.op_type == "DequantizeLinear":
            quantize = makers.get(node.input[0])
            divide = makers.get(quantize.input[0]) if quantize is not None else None
            if divide is not None and _divides_by_largest_onnx(divide, makers, constants):
                quotients[node.output[0]] = divide.output[0]
    count = 0
    for node in graph.node:
        for position, name in enumerate(node.input):
            if name in quotients:
                node.input[position] = quotients[name]
                count += 1
    return count


def _divides_by_largest_onnx(divide: Any, makers: dict[str, Any], constants: set[str]) -> bool:
    """Whether a node is x / max|x| of rows of x."""
    if divide.op_type != "Div":
        return False

    def parts(name: str) -> tuple[str, list[str]]:
        maker = makers.get(name)
        if maker is None:
            return (CONSTANT if name in constants else INPUT), []
        return maker.op_type, [*maker.input]

    return _is_largest(divide.input[1], divide.input[0], parts)


def unround_openvino(model: Any) -> int:
    """Take the rounding out of an OpenVINO model, in place; returns how many there were."""
    rounded = [node for node in model.get_ordered_ops() if node.get_type_name() == "FakeQuantize"]
    rounded = [node for node in rounded if _divides_by_largest_openvino(node.input_value(0).get_node())]
    for node in rounded:
        quotient, last = node.input_value(0), node
        while (after := _only_dequantizing(last)) is not None:
            last = after
        for reader in last.output(0).get_target_inputs():
            reader.replace_source_output(quotient)
    return len(rounded)


def _divides_by_largest_openvino(divide: Any) -> bool:
    """Whether a node is x / max|x| of rows of x."""
    if divide.get_type_name() != "Divide":
        return False

    def parts(port: Any) -> tuple[str, list[Any]]:
        node = port.get_node()
        return node.get_type_name(), list(node.input_values())

    return _is_largest(divide.input_value(1), divide.input_value(0), parts)


def _is_largest(divisor: Value, dividend: Value, parts: Callable[[Value], tuple[str, list[Value]]]) -> bool:
    """Whether a divisor is made of the dividend and constants, by the operators that the largest absolute value takes.

    Args:
        divisor: A value of the graph.
        dividend: Another one.
        parts: Says for a value which operator made it, and of which values.
    """
    waiting, reduced, reached = [divisor], False, False
    while waiting:
        value = waiting.pop()
        if value == dividend:
            reached = True
            continue
        operator, inputs = parts(value)
        reduced = reduced or operator in REDUCING
        if operator in REDUCING:
            waiting.append(inputs[0])  # the second says which axes
        elif operator in COMBINING:
            waiting.extend(inputs)
        elif operator != CONSTANT:
            return False
    return reduced and reached


def _only_dequantizing(node: Any) -> Any:
    """The one reader of a node that goes on dequantizing; None where that is over."""
    if node.get_type_name() == "Multiply":
        return None
    readers = list(node.output(0).get_target_inputs())
    reader = readers[0].get_node() if len(readers) == 1 else None
    return reader if reader is not None and reader.get_type_name() in DEQUANTIZING else None
