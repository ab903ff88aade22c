"""How long one product takes in the engine, and how long two thin ones: asked once for every shape."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np

from penjing.evaluate.speed import interleave, speed_ratio
from penjing.extras import need
from penjing.runtimes.engine import Engine

COPIES = 4
"""Layers side by side in a graph, each with weights of its own: one alone would take less than calling it does."""
ROUNDS = 24
OPSET = 21


@lru_cache(maxsize=256)
def thin_ratio(shape: tuple[int, int], rank: int, tokens: int, engine: Engine) -> float:
    """Time of two products of a rank over that of the one of this shape (out, in), for so many tokens at once.

    The median over rounds in which both take turns.
    """
    out, width = shape
    values = np.random.default_rng(0).standard_normal((tokens, width), dtype=np.float32)
    with tempfile.TemporaryDirectory(prefix="penjing-") as folder:
        graphs = {
            name: engine.open(_write(Path(folder) / f"{name}.onnx", widths))
            for name, widths in (("one", (width, out)), ("two", (width, rank, out)))
        }
        functions = {name: (lambda graph=graph: graph({"values": values})) for name, graph in graphs.items()}
        times = interleave(functions, rounds=ROUNDS)
    return speed_ratio(times["two"], times["one"]).value


def _write(path: Path, widths: Sequence[int]) -> Path:
    """A graph of `COPIES` chains of products of one input, from each width to the next."""
    onnx = need("onnx", "compress")
    dice = np.random.default_rng(1)
    nodes, tables, ends = [], [], []
    for copy in range(COPIES):
        before = "values"
        for place, (width, out) in enumerate(pairwise(widths)):
            name = f"{copy}.{place}"
            weight = dice.standard_normal((width, out), dtype=np.float32)
            tables.append(onnx.numpy_helper.from_array(weight, f"weight.{name}"))
            nodes.append(onnx.helper.make_node("MatMul", [before, f"weight.{name}"], [f"product.{name}"]))
            before = f"product.{name}"
        ends.append(onnx.helper.make_tensor_value_info(before, onnx.TensorProto.FLOAT, ["tokens", widths[-1]]))
    start = onnx.helper.make_tensor_value_info("values", onnx.TensorProto.FLOAT, ["tokens", widths[0]])
    graph = onnx.helper.make_graph(nodes, "products", [start], ends, tables)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", OPSET)], ir_version=10)
    onnx.save(model, str(path))
    return path
