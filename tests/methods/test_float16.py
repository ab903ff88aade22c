"""Position tables in two bytes a value."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from penjing.artifact.checkpoint import WEIGHTS, load_network, save_network
from penjing.layers.half import half_tensors
from penjing.methods import Aids, make
from penjing.models.tower import Site, Tower


def test_only_position_tables_are_chosen(fresh, tmp_path):
    model = fresh("whisper")
    notes = [n for tower in model.towers for n in make("float16", {}).run(tower, [], Aids(model, [], 0, tmp_path))]
    names = ["model.decoder.embed_positions", "model.encoder.embed_positions"]
    assert sorted(note.site for note in notes) == names
    assert {note.bits for note in notes} == {16.0}
    assert half_tensors(model.net) == {f"{name}.weight" for name in names}


def test_values_are_float16_in_memory_and_on_disk(fresh, tmp_path):
    model = fresh("clip")
    before = model.net.text_model.embeddings.position_embedding.weight.clone()
    for tower in model.towers:
        make("float16", {}).run(tower, [], Aids(model, [], 0, tmp_path))
    after = model.net.text_model.embeddings.position_embedding.weight
    assert after.dtype == torch.float32
    assert torch.equal(after, before.half().float())
    save_network(model.net, model.folder, tmp_path / "out")
    stored = load_file(tmp_path / "out" / WEIGHTS)
    assert stored["text_model.embeddings.position_embedding.weight"].dtype == torch.float16
    assert stored["text_model.embeddings.token_embedding.weight"].dtype == torch.float32
    rebuilt = load_network(tmp_path / "out")
    assert half_tensors(rebuilt) == half_tensors(model.net)
    save_network(rebuilt, model.folder, tmp_path / "again")
    assert (tmp_path / "again" / WEIGHTS).read_bytes() == (tmp_path / "out" / WEIGHTS).read_bytes()


@pytest.fixture
def pair():
    """Two position tables with one weight."""
    net = nn.ModuleDict({"one": nn.Embedding(4, 2), "two": nn.Embedding(4, 2)})
    net["two"].weight = net["one"].weight
    site = Site("one", "position", net, "one", (Site("two", "position", net, "two"),))
    return net, Tower("toy", "encoder", "text", net, net, (), {"one": site})


def test_a_shared_table_is_marked_wherever_it_is_read(pair, fresh, tmp_path):
    net, tower = pair
    (note,) = make("float16", {}).run(tower, [], Aids(fresh("clip"), [], 0, tmp_path))
    assert note.size_bytes == 16
    assert half_tensors(net) == {"one.weight", "two.weight"}


def test_values_beyond_float16_are_left(pair, fresh, tmp_path):
    net, tower = pair
    with torch.no_grad():
        net["one"].weight[1, 1] = -1e5
    (note,) = make("float16", {}).run(tower, [], Aids(fresh("clip"), [], 0, tmp_path))
    assert note.skipped == "it holds values above 65504"
    assert net["one"].weight[1, 1].item() == -1e5
    assert half_tensors(net) == set()
