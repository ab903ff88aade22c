"""Graphs whose activations are rounded by ranges of their own rows, without that rounding: what exact mode opens.

Such a rounding (`penjing.layers.dynamic`) is x / max|x|, then QuantizeLinear and DequantizeLinear. Whoever reads the
dequantized values reads the quotient instead. Static ranges are part of what a model is, and stay.
"""

from __future__ import annotations

from typing import Any

DEQUANTIZING = ("Convert", "Subtract", "Multiply")
"""What OpenVINO makes of the two operators, behind its FakeQuantize."""


def unround_onnx(graph: Any) -> int:
    """Take the rounding out of an `onnx.GraphProto`, in place; returns how many readers it had."""
    makers = {name: node for node in graph.node for name in node.output}
    quotients = {}
    for node in graph.node:
        if node.op_type == "DequantizeLinear":
            quantize = makers.get(node.input[0])
            divide = makers.get(quantize.input[0]) if quantize is not None else None
            if divide is not None and _divides_by_largest_onnx(divide, makers):
                quotients[node.output[0]] = divide.output[0]
    count = 0
    for node in graph.node:
        for position, name in enumerate(node.input):
            if name in quotients:
                node.input[position] = quotients[name]
                count += 1
    return count


def _divides_by_largest_onnx(divide: Any, makers: dict[str, Any]) -> bool:
    """Whether a node is x / max(ReduceMax(|x|), tiny)."""
    if divide.op_type != "Div":
        return False
    divisor = makers.get(divide.input[1])
    if divisor is not None and divisor.op_type == "Max":
        divisor = next((makers[name] for name in divisor.input if name in makers), None)
    if divisor is None or divisor.op_type != "ReduceMax":
        return False
    absolute = makers.get(divisor.input[0])
    return absolute is not None and absolute.op_type == "Abs" and absolute.input[0] == divide.input[0]


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
    """Whether a node is x / max(ReduceMax(|x|), tiny)."""
    if divide.get_type_name() != "Divide":
        return False
    divisor = divide.input_value(1).get_node()
    if divisor.get_type_name() == "Maximum":
        either = [port.get_node() for port in divisor.input_values()]
        divisor = next((node for node in either if node.get_type_name() != "Constant"), divisor)
    if divisor.get_type_name() != "ReduceMax":
        return False
    absolute = divisor.input_value(0).get_node()
    return absolute.get_type_name() == "Abs" and bool(absolute.input_value(0) == divide.input_value(0))


def _only_dequantizing(node: Any) -> Any:
    """The one reader of a node that goes on dequantizing; None where that is over."""
    if node.get_type_name() == "Multiply":
        return None
    readers = list(node.output(0).get_target_inputs())
    reader = readers[0].get_node() if len(readers) == 1 else None
    return reader if reader is not None and reader.get_type_name() in DEQUANTIZING else None
