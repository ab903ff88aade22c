"""int8_cache: codes for keys and values, the same in PyTorch and both engines, and little lost."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from engine_rack import EXACT
from penjing.artifact.checkpoint import load_network, save_network
from penjing.artifact.export import export_component
from penjing.layers.cache import CacheGrid, cache_grid, to_codes
from penjing.methods import Aids, make
from penjing.models.reference import TorchGraph
from penjing.runtimes.decoder import open_decoder
from penjing.runtimes.decoding import Decoder, GraphDecoder

TOKENS = [5, 9, 20, 33, 7, 41, 50]


def coded(model) -> list:
    (tower,) = [tower for tower in model.towers if tower.role == "decoder"]
    batches = [model.family.probe(model.net, seed) for seed in range(4)]
    return make("int8_cache", {}).run(tower, batches, Aids(model, [], 0, Path()))


def component_of(model):
    return next(one for one in model.family.components(model.net) if one.tower == "decoder")


def in_parts(decoder: Decoder) -> np.ndarray:
    decoder.start({})
    return np.concatenate([decoder.read(part).copy() for part in (TOKENS[:4], TOKENS[4:5], TOKENS[5:])])


def test_codes_by_hand():
    step = torch.tensor([0.5, 2.0])
    codes = to_codes(torch.tensor([[[[1.0, -3.1], [100.0, -1000.0]]]]), step)
    assert codes.dtype == torch.int8
    assert codes.tolist() == [[[[2, -2], [127, -127]]]]


def test_the_grid_reaches_as_far_as_what_was_seen():
    grid = CacheGrid(1, 2, 3)
    keys = torch.tensor([127.0, 254.0, 0.0]).expand(1, 2, 1, 3)
    grid.fit(keys, 2 * keys)
    assert grid.keys[0, 0, 0].tolist() == pytest.approx([1, 2, 0], abs=1e-6)
    assert grid.values[0, 1, 0].tolist() == pytest.approx([2, 4, 0], abs=1e-6)
    assert bool((grid.keys > 0).all()), "a channel that was never used divides by no zero"


@pytest.mark.parametrize("kind", ["llama", "gpt2", "opt", "qwen2"])
def test_the_answers_stay_and_the_cache_is_a_quarter(kind, fresh):
    model = fresh(kind)
    before = in_parts(GraphDecoder(TorchGraph(component_of(model)), model.settings))
    (note,) = coded(model)
    assert note.bits == 8
    assert 0 < note.error < 0.02
    component = component_of(model)
    after = in_parts(GraphDecoder(TorchGraph(component), model.settings))
    error = np.linalg.norm(after - before) / np.linalg.norm(before)
    assert 0 < error < 0.03
    past = [tensor for name, tensor in component.inputs.items() if name.startswith("past")]
    assert past
    assert all(tensor.dtype == torch.int8 for tensor in past)


@pytest.mark.parametrize("engine", EXACT)
def test_engines_keep_the_same_codes(engine, fresh, tmp_path):
    model = fresh("llama")
    coded(model)
    component = component_of(model)
    export_component(component, tmp_path)
    (tmp_path / "onnx").mkdir()
    for path in tmp_path.glob("*.onnx*"):
        path.rename(tmp_path / "onnx" / path.name)
    graph = onnx.load(str(tmp_path / "onnx" / "model.onnx"), load_external_data=False).graph
    types = {one.name: one.type.tensor_type.elem_type for one in (*graph.input, *graph.output)}
    cache = [kind for name, kind in types.items() if name.startswith(("past", "present"))]
    assert set(cache) == {onnx.TensorProto.INT8}
    wanted = in_parts(GraphDecoder(TorchGraph(component), model.settings))
    found = in_parts(open_decoder(tmp_path, model.settings, EXACT[engine], "model"))
    assert np.abs(found - wanted).max() < 1e-4


def test_a_finished_step_comes_back(fresh, tmp_path):
    model = fresh("llama")
    coded(model)
    save_network(model.net, model.folder, tmp_path)
    again = fresh("llama")
    load_network(tmp_path, again.net)
    wanted, found = cache_grid(model.net), cache_grid(again.net)
    assert found is not None
    assert torch.equal(found.keys, wanted.keys)
    assert torch.equal(found.values, wanted.values)


def test_what_carries_no_cache_is_told(fresh):
    model = fresh("whisper")
    (note,) = coded(model)
    assert "no graph of this family carries its cache" in note.skipped
    assert cache_grid(model.net) is None
