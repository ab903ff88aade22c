"""Which divisions exact mode takes for the rounding of rows: those by the largest absolute value of the very row."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from penjing.runtimes.unrounded import unround_onnx, unround_openvino

REDUCED = {
    "two reductions": (
        [("ReduceMax", ["x", "axes"], "high"), ("ReduceMin", ["x", "axes"], "low"), ("Neg", ["low"], "negated"),
         ("Max", ["high", "negated"], "largest"), ("Max", ["largest", "tiny"], "divisor")],
        1,
    ),
    "of absolute values": (
        [("Abs", ["x"], "absolute"), ("ReduceMax", ["absolute", "axes"], "largest"),
         ("Max", ["largest", "tiny"], "divisor")],
        1,
    ),
    "of another input": ([("ReduceMax", ["y", "axes"], "largest"), ("Max", ["largest", "tiny"], "divisor")], 0),
    "of both inputs": (
        [("ReduceMax", ["x", "axes"], "one"), ("ReduceMax", ["y", "axes"], "low"), ("Max", ["one", "low"], "divisor")],
        0,
    ),
    "of nothing": ([("Max", ["x", "tiny"], "divisor")], 0),
    "a sum": ([("ReduceSum", ["x", "axes"], "divisor")], 0),
}  # fmt: skip


def graph_with(nodes: list[tuple[str, list[str], str]]) -> onnx.ModelProto:
    """x (2, 4) divided by what the nodes make of x and y, rounded to uint8 and back, times 2."""
    made = [helper.make_node(operator, inputs, [output]) for operator, inputs, output in nodes]
    made += [
        helper.make_node("Div", ["x", "divisor"], ["quotient"]),
        helper.make_node("QuantizeLinear", ["quotient", "scale", "zero"], ["codes"]),
        helper.make_node("DequantizeLinear", ["codes", "scale", "zero"], ["rounded"]),
        helper.make_node("Mul", ["rounded", "two"], ["out"]),
    ]
    constants = {
        "axes": np.array([-1]),
        "tiny": np.float32(1e-6),
        "scale": np.float32(1 / 63),
        "zero": np.uint8(64),
        "two": np.float32(2),
    }
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 4]) for name in ("x", "y")]
    outputs = [helper.make_tensor_value_info("out", TensorProto.FLOAT, [2, 4])]
    initializers = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(made, "rounding", inputs, outputs, initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


@pytest.mark.parametrize("name", REDUCED)
def test_only_a_division_by_the_largest_of_its_own_row_is_rounding(name, tmp_path):
    import openvino

    nodes, count = REDUCED[name]
    model = graph_with(nodes)
    onnx.checker.check_model(model)
    path = tmp_path / "graph.onnx"
    onnx.save(model, path)
    assert unround_onnx(model.graph) == count
    assert unround_openvino(openvino.Core().read_model(str(path))) == count


def test_without_the_rounding_the_quotient_comes_through():
    from onnx.reference import ReferenceEvaluator

    model = graph_with(REDUCED["two reductions"][0])
    feeds = {"x": np.array([[0.1, -3.0, 1.0, 0.7]] * 2, np.float32), "y": np.zeros((2, 4), np.float32)}
    wanted = 2 * feeds["x"] / 3
    assert np.abs(ReferenceEvaluator(model).run(None, feeds)[0] - wanted).max() > 1e-3
    unround_onnx(model.graph)
    assert np.abs(ReferenceEvaluator(model).run(None, feeds)[0] - wanted).max() < 1e-6
