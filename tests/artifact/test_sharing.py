"""Graphs that hold the same table name one file for it, and run as before."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from penjing.artifact.sharing import SHARED, share_tables

TABLE = np.random.default_rng(0).integers(0, 255, (64, 128), dtype=np.uint8)


def graph(path, table, op="Gather"):
    """A table that is looked up, flat or in blocks."""
    rows = helper.make_tensor_value_info("rows", TensorProto.INT64, ["n"])
    out = helper.make_tensor_value_info("out", TensorProto.UINT8, None)
    node = helper.make_node(op, ["table", "rows"], ["out"], axis=0)
    made = helper.make_graph([node], "g", [rows], [out], [numpy_helper.from_array(table, "table")])
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), str(path))
    return path


def looked_up(path):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {"rows": np.array([3, 5])})[0]


def test_the_same_bytes_are_stored_once(tmp_path):
    paths = [graph(tmp_path / "a.onnx", TABLE), graph(tmp_path / "b.onnx", TABLE.reshape(64, 4, 32))]
    before = [looked_up(path) for path in paths]
    assert share_tables(paths) == TABLE.nbytes
    assert (tmp_path / SHARED).read_bytes() == TABLE.tobytes()
    assert all(path.stat().st_size < 1000 for path in paths)
    for path, wanted in zip(paths, before, strict=True):
        assert np.array_equal(looked_up(path), wanted)


@pytest.mark.parametrize("other", [TABLE + 1, TABLE[:8], TABLE.reshape(-1)], ids=["others", "few", "a vector"])
def test_nothing_in_common_is_left_alone(other, tmp_path):
    paths = [graph(tmp_path / "a.onnx", TABLE), graph(tmp_path / "b.onnx", other)]
    before = [path.read_bytes() for path in paths]
    assert share_tables(paths) == 0
    assert [path.read_bytes() for path in paths] == before
    assert not (tmp_path / SHARED).exists()


def test_a_table_that_one_graph_holds_twice_is_not_shared(tmp_path):
    assert share_tables([graph(tmp_path / "a.onnx", TABLE)]) == 0
