"""Products of one input are stacked without changing a number, and only those that may be."""

from types import MappingProxyType

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime import InferenceSession

from penjing.artifact.merging import merge_products

WIDTH, BLOCK = 32, 16
GROUPS = WIDTH // BLOCK


def product(name: str, rows: int, *, bits: int = 4, zeros: bool = False, fed: str = "x"):
    """A node and its tables of random codes."""
    random = np.random.default_rng(rows + bits)
    tables = {
        f"{name}.codes": random.integers(0, 256, (rows, GROUPS, BLOCK * bits // 8), np.uint8),
        f"{name}.scales": random.random((rows, GROUPS), np.float32),
    }
    if zeros:
        tables[f"{name}.zeros"] = random.integers(0, 256, (rows, -(-GROUPS * bits // 8)), np.uint8)
    attributes = {"K": WIDTH, "N": rows, "bits": bits, "block_size": BLOCK, "accuracy_level": 0}
    node = helper.make_node(
        "MatMulNBits", [fed, *tables], [f"{name}.y"], name=name, domain="com.microsoft", **attributes
    )
    return node, tables


def model_of(products, extra=(), kinds=MappingProxyType({})):
    tables = {name: table for _, found in products for name, table in found.items()}
    nodes = [*(node for node, _ in products), *extra]
    named = [*(node.output[0] for node, _ in products), *kinds]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", WIDTH]) for name in ("x", "z")],
        [
            helper.make_tensor_value_info(
                name, kinds.get(name, TensorProto.FLOAT), [None] * (1 if name in kinds else 2)
            )
            for name in named
        ],
        [numpy_helper.from_array(table, name) for name, table in tables.items()],
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def answers(model):
    session = InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    random = np.random.default_rng(0)
    feeds = {name: random.standard_normal((3, WIDTH)).astype(np.float32) for name in ("x", "z")}
    return dict(zip([port.name for port in session.get_outputs()], session.run(None, feeds), strict=True))


def count(model) -> int:
    return sum(node.op_type == "MatMulNBits" for node in model.graph.node)


@pytest.mark.parametrize("zeros", [False, True])
@pytest.mark.parametrize("bits", [4, 8])
def test_stacked_products_answer_the_same(bits, zeros):
    model = model_of([product(name, rows, bits=bits, zeros=zeros) for name, rows in (("q", 8), ("k", 4), ("v", 6))])
    before = answers(model)
    stored = sum(len(table.raw_data) for table in model.graph.initializer)
    assert merge_products(model.graph) == 2
    assert count(model) == 1
    onnx.checker.check_model(model)
    after = answers(model)
    assert {name: array.shape for name, array in after.items()} == {"q.y": (3, 8), "k.y": (3, 4), "v.y": (3, 6)}
    for name, wanted in before.items():
        np.testing.assert_allclose(after[name], wanted, rtol=1e-6, atol=1e-6)
    places_bytes = 3 * 8
    assert sum(len(table.raw_data) for table in model.graph.initializer) == stored + places_bytes


def test_only_products_of_one_input_and_one_kind_are_stacked():
    products = [
        product("a", 4),
        product("b", 6, bits=8),
        product("c", 8, zeros=True),
        product("d", 4, fed="z"),
        product("e", 10, fed="z"),
    ]
    model = model_of(products)
    before = answers(model)
    assert merge_products(model.graph) == 1  # d and e
    after = answers(model)
    assert all(np.allclose(after[name], wanted, atol=1e-6) for name, wanted in before.items())


def test_a_table_that_is_read_elsewhere_stays_whole():
    looked_up = helper.make_node("Shape", ["head.codes"], ["rows"])
    model = model_of([product("head", 8), product("other", 4)], [looked_up], {"rows": TensorProto.INT64})
    assert merge_products(model.graph) == 0
    assert {"head.codes", "other.codes"} <= {table.name for table in model.graph.initializer}
