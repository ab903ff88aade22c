"""What an exported graph holds and what it does not: no trace of a machine, the same bytes every time."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest
import torch
from torch import nn

import exported_racks
from penjing.artifact.export import OPSET, export_component
from penjing.models.family import Component
from penjing.models.reference import TorchGraph
from penjing.runtimes.engine import Engine


@pytest.fixture(scope="module")
def graph_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported_racks.write(tmp_path_factory.mktemp("first"))


@pytest.fixture(scope="module")
def graph(graph_path: Path) -> onnx.ModelProto:
    return onnx.load(str(graph_path))


def with_metadata(graph: onnx.ModelProto) -> Iterator[object]:
    """Every part of a graph that may carry notes."""
    yield graph
    for part in (graph.graph, *graph.functions):
        yield part
        yield from part.node
        yield from part.value_info
    yield from (*graph.graph.input, *graph.graph.output, *graph.graph.initializer)


def test_it_tells_nothing_of_where_it_was_made(graph, graph_path):
    for part in with_metadata(graph):
        assert list(getattr(part, "metadata_props", [])) == []
        assert getattr(part, "doc_string", "") == ""
    data = graph_path.read_bytes()
    home = str(Path.home()).encode()
    for trace in (b".py", b"site-packages", b"penjing", str(Path.cwd()).encode(), str(graph_path.parent).encode()):
        assert trace not in data
    assert len(home) < 4 or home not in data


def test_it_is_one_whole_file_of_one_opset(graph, graph_path):
    onnx.checker.check_model(graph)
    assert [path.name for path in graph_path.parent.iterdir()] == ["layers.onnx"]
    assert {opset.version for opset in graph.opset_import if opset.domain == ""} == {OPSET}
    assert not any(part.HasField("data_location") and part.data_location for part in graph.graph.initializer)
    assert list(graph.functions) == []


def test_the_axes_that_vary_are_named(graph):
    (ids,) = graph.graph.input
    assert [axis.dim_param for axis in ids.type.tensor_type.shape.dim] == ["batch_size", "tokens"]
    assert [value.name for value in graph.graph.output] == ["logits"]


def test_another_process_writes_the_same_bytes(graph_path, tmp_path):
    program = [sys.executable, exported_racks.__file__, str(tmp_path)]
    environment = {**os.environ, "PYTHONHASHSEED": "123"}
    subprocess.run(program, check=True, capture_output=True, env=environment, cwd=tmp_path, timeout=300)
    assert (tmp_path / "layers.onnx").read_bytes() == graph_path.read_bytes()


class Sum(nn.Module):
    """One tensor and a list of others, of which the last axis is even."""

    def forward(self, first: torch.Tensor, rest: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        halves = rest[1].unflatten(-1, (-1, 2)).sum(-1)
        return first @ rest[0], halves


def test_a_list_of_inputs_and_an_even_axis(tmp_path):
    inputs = {"first": torch.randn(2, 3), "second": torch.randn(3, 5), "third": torch.randn(2, 8)}
    axes = {"first": {0: "batch"}, "third": {0: "batch", 1: "2*half"}}
    component = Component("sum", Sum(), inputs, ("product", "halves"), axes)
    path = export_component(component, tmp_path)
    (tmp_path / "again").mkdir()
    assert export_component(component, tmp_path / "again").read_bytes() == path.read_bytes()
    graph = Engine("onnxruntime", 1).open(path)
    arrays = {
        "first": torch.randn(1, 3).numpy(),
        "second": inputs["second"].numpy(),
        "third": torch.randn(1, 12).numpy(),
    }
    found, wanted = graph(arrays), TorchGraph(component)(arrays)
    assert graph.inputs == ["first", "second", "third"]
    for name, values in wanted.items():
        assert found[name].shape == values.shape
        assert abs(found[name] - values).max() < 1e-5


def test_exporting_says_nothing(tmp_path, capfd):
    component = Component("quiet", nn.Linear(3, 4), {"input": torch.randn(2, 3)}, ("y",), {})
    assert export_component(component, tmp_path).is_file()
    assert capfd.readouterr() == ("", "")
