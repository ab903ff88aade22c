"""Engines by name, graphs that cannot be opened, and what an engine keeps."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from penjing.errors import ArtifactError, EngineError, MissingExtra
from penjing.runtimes import choose_engine, load, open_runner
from penjing.runtimes.engine import Engine, available_cores, cache_folder
from penjing.runtimes.openvino import compile_graph
from penjing.runtimes.openvino_decoder import StatefulDecoder

BOTH = ("onnxruntime", "openvino")


def scale_graph(path: Path, factor: float) -> Path:
    """y = factor · x; two of them have files of one size."""
    node = helper.make_node("Mul", ["x", "factor"], ["y"])
    graph = helper.make_graph(
        [node],
        "scale",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n"])],
        [numpy_helper.from_array(np.array(factor, np.float32), "factor")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), str(path))
    return path


@pytest.mark.parametrize(
    ("installed", "flags", "name"),
    [
        (True, "fpu avx2 avx512_vnni", "openvino"),
        (True, "fpu avx_vnni", "openvino"),
        (True, "fpu avx2", "onnxruntime"),
        (True, "", "openvino"),
        (False, "avx512_vnni", "onnxruntime"),
    ],
)
def test_auto_is_openvino_where_it_is_installed_and_int8_is_native(installed, flags, name, monkeypatch):
    told = f"processor: 0\nflags : {flags}\n" if flags else "processor: 0\n"
    monkeypatch.setattr(Path, "read_text", lambda path, encoding: told)
    monkeypatch.setattr("penjing.runtimes.engine.have", lambda module: installed)
    assert choose_engine() == Engine(name, available_cores())
    assert choose_engine("auto", 3, exact=True, cache=False) == Engine(name, 3, exact=True, cache=False)


@pytest.mark.parametrize("cores", [1, 8])
def test_threads_are_tied_to_cores_only_where_they_are_as_many(cores, tmp_path, monkeypatch):
    monkeypatch.setattr("penjing.runtimes.engine.available_cores", lambda: cores)
    path, engine = scale_graph(tmp_path / "scale.onnx", 2.0), Engine("openvino", 1, cache=False)
    compiled = compile_graph(path, path, engine)
    assert compiled.get_property("ENABLE_CPU_PINNING") is (cores == 1)


@pytest.mark.parametrize(("name", "hint"), [("onnxrutime", "did you mean 'onnxruntime'?"), ("tpu", "known: auto")])
def test_an_unknown_engine(name, hint):
    with pytest.raises(EngineError, match=f"no engine called '{name}'") as caught:
        choose_engine(name)
    assert caught.value.hint.startswith(hint)


@pytest.mark.parametrize("threads", [0, -2])
def test_threads_that_cannot_be(threads):
    with pytest.raises(EngineError, match=f"{threads} threads cannot run anything"):
        choose_engine("onnxruntime", threads)


def test_an_engine_that_is_not_installed(monkeypatch):
    def gone(module, extra):
        raise MissingExtra(f"{module} is not installed", hint=f'pip install "penjing[{extra}]"')

    monkeypatch.setattr("penjing.runtimes.engine.need", gone)
    with pytest.raises(MissingExtra, match="openvino is not installed"):
        choose_engine("openvino")
    assert choose_engine("onnxruntime").name == "onnxruntime"


def test_torch_runs_no_graphs(tmp_path):
    with pytest.raises(EngineError, match="not ONNX graphs") as caught:
        choose_engine("torch").open(scale_graph(tmp_path / "scale.onnx", 2))
    assert "checkpoint" in caught.value.hint


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("content", [b"", b"not a graph", None], ids=["empty", "text", "cut short"])
def test_a_damaged_graph_is_one_line(name, content, exact, tmp_path):
    path = scale_graph(tmp_path / "damaged.onnx", 2)
    path.write_bytes(path.read_bytes()[:-40] if content is None else content)
    with pytest.raises(EngineError, match=r"cannot open damaged\.onnx") as caught:
        Engine(name, 1, exact=exact, cache=False).open(path)
    assert "\n" not in caught.value.message
    assert "whole" in caught.value.hint


def test_a_damaged_decoder_is_one_line_too(tmp_path):
    engine = Engine("openvino", 1, cache=False)
    (tmp_path / "decoder.onnx").write_bytes(b"not a graph")
    with pytest.raises(EngineError, match=r"cannot open decoder\.onnx") as caught:
        StatefulDecoder(tmp_path / "decoder.onnx", engine)
    assert "\n" not in caught.value.message
    with pytest.raises(EngineError, match="does not exist"):
        StatefulDecoder(tmp_path / "nowhere.onnx", engine)


@pytest.mark.parametrize("name", BOTH)
def test_a_graph_that_is_not_there(name, tmp_path):
    with pytest.raises(EngineError, match="does not exist"):
        Engine(name, 1).open(tmp_path / "nowhere.onnx")


@pytest.mark.parametrize("name", BOTH)
def test_a_changed_graph_is_not_answered_from_the_cache(name, tmp_path):
    """Same path, same size, same second: an engine that looks no further would run the old graph."""
    path = tmp_path / "scale.onnx"
    for factor in (2.0, 5.0, 2.0):
        scale_graph(path, factor)
        os.utime(path, (1_000_000_000, 1_000_000_000))
        graph = Engine(name, 1).open(path)
        assert graph({"x": np.ones(3, np.float32)})["y"].tolist() == [factor] * 3


def test_compiled_graphs_are_kept_where_they_are_asked_to_be(tmp_path, monkeypatch):
    monkeypatch.setenv("PENJING_CACHE", str(tmp_path / "kept"))
    path = scale_graph(tmp_path / "scale.onnx", 2)
    Engine("openvino", 1, cache=False).open(path)
    assert not (tmp_path / "kept").exists()
    Engine("openvino", 1).open(path)
    assert list((tmp_path / "kept" / "openvino").rglob("*.blob"))


def test_the_cache_is_the_users_own(monkeypatch):
    monkeypatch.delenv("PENJING_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert cache_folder() == Path("/somewhere/penjing")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "penjing"


@pytest.mark.parametrize("name", BOTH)
def test_names_and_copies(name, tmp_path):
    graph = Engine(name, 1, cache=False).open(scale_graph(tmp_path / "scale.onnx", 2))
    assert (list(graph.inputs), list(graph.outputs)) == (["x"], ["y"])
    first = graph({"x": np.ones(3, np.float32), "ignored": np.zeros(1)})["y"]
    graph({"x": np.full(3, 7, np.float32)})
    assert first.tolist() == [2.0] * 3
    spread = np.arange(6, dtype=np.float32)[::2]  # not contiguous
    assert graph({"x": spread})["y"].tolist() == [0.0, 4.0, 8.0]


def test_a_folder_that_is_no_artifact(tmp_path):
    with pytest.raises(ArtifactError, match=r"has no penjing\.json"):
        load(tmp_path)


def test_an_artifact_without_a_task(tmp_path):
    with pytest.raises(ArtifactError, match="no task that the engines run") as caught:
        open_runner(tmp_path, {"task": None, "checkpoint": {"layout": "penjing"}}, choose_engine())
    assert "load_network" in caught.value.hint  # no command of ours runs it
    named = {"task": None, "checkpoint": {"layout": "compressed-tensors"}, "model": {"architecture": "BertForMaskedLM"}}
    with pytest.raises(ArtifactError, match="no task") as caught:
        open_runner(tmp_path, named, choose_engine())
    assert "transformers.BertForMaskedLM.from_pretrained" in caught.value.hint
