"""Our packing is what the operator reads: a graph made by hand, run by ONNX Runtime, against what it stands for."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from penjing.tensor.grid import quantize
from penjing.tensor.pack import pack_slots

ROWS, BLOCK = 6, 32


def run_by_hand(inputs: np.ndarray, width: int, bits: int, tables: dict[str, np.ndarray]) -> np.ndarray:
    """One MatMulNBits node, float activations."""
    node = helper.make_node(
        "MatMulNBits",
        ["x", *tables],
        ["y"],
        domain="com.microsoft",
        K=width,
        N=ROWS,
        bits=bits,
        block_size=BLOCK,
        accuracy_level=0,
    )
    graph = helper.make_graph(
        [node],
        "by_hand",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, width])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, ROWS])],
        [numpy_helper.from_array(values, name) for name, values in tables.items()],
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found: np.ndarray = session.run(None, {"x": inputs})[0]
    return found


@pytest.mark.parametrize("symmetric", [True, False], ids=["symmetric", "asymmetric"])
@pytest.mark.parametrize("width", [64, 80])
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_the_operator_reads_our_codes(bits, width, symmetric):
    source = torch.Generator().manual_seed(width)
    found = quantize(torch.randn(ROWS, width, generator=source) + 0.3, bits, BLOCK, symmetric=symmetric)
    tables = {"codes": pack_slots(found.codes, bits).numpy(), "scales": found.scales.numpy()}
    if not symmetric:
        zeros = found.zeros.to(torch.uint8)
        padded = torch.nn.functional.pad(zeros, (0, -zeros.shape[1] % (8 // bits)))
        tables["zeros"] = pack_slots(padded, bits).numpy()
    inputs = torch.randn(5, width, generator=source)
    wanted = inputs @ found.dequantize(width).T
    assert np.allclose(run_by_hand(inputs.numpy(), width, bits, tables), wanted.numpy(), atol=1e-4)
