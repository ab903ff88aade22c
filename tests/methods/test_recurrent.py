"""Recurrent layers under `rtn`: a classifier trained here, which reads both ways, and a codec of transformers."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from engine_rack import bits_of
from penjing.artifact.checkpoint import WEIGHTS, load_network, save_network, save_portable
from penjing.errors import ModelError
from penjing.layers.recurrent import IntRecurrent, weight_matrices
from penjing.methods import make
from penjing.models.open import open_model
from penjing.models.tower import Tower, find_sites
from penjing.pipeline.coverage import coverage_table, source_sites
from penjing.pipeline.steps import StepDone
from penjing.recipe import Step

VOCABULARY, LENGTH = 20, 24


class Reader(nn.Module):
    """Tells whether the first special token (1) comes before the second (2)."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(VOCABULARY, 16)
        self.both_ways = nn.LSTM(16, 32, num_layers=2, batch_first=True, bidirectional=True)
        self.head = nn.Linear(64, 2)

    def forward(self, ids):
        states, _ = self.both_ways(self.table(ids))
        return self.head(states.amax(1))


def sequences(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    source = torch.Generator().manual_seed(seed)
    ids = torch.randint(3, VOCABULARY, (count, LENGTH), generator=source)
    places = torch.rand(count, LENGTH, generator=source).argsort(1)[:, :2]
    ids.scatter_(1, places, torch.tensor([[1, 2]]).expand(count, 2))
    return ids, (places[:, 0] < places[:, 1]).long()


def tower_of(net: nn.Module) -> Tower:
    return Tower("text", "encoder", "text", net, net, sites=find_sites(net, net))


def accuracy(net: nn.Module) -> float:
    ids, labels = sequences(1000, 1)
    with torch.no_grad():
        return float((net(ids).argmax(1) == labels).float().mean())


@pytest.fixture(scope="module")
def trained() -> nn.Module:
    torch.manual_seed(0)
    net = Reader()
    optimizer = torch.optim.Adam(net.parameters(), 5e-3)
    for step in range(150):
        ids, labels = sequences(64, 100 + step)
        loss = nn.functional.cross_entropy(net(ids), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return net.eval().requires_grad_(False)


@pytest.mark.parametrize(("bits", "most"), [(8, 0.01), (4, 0.2), (3, 0.4)])
def test_a_trained_classifier_keeps_what_it_learned(trained, bits, most, tmp_path):
    before = accuracy(trained)
    assert before > 0.95
    net = copy.deepcopy(trained)
    notes = {note.site: note for note in make("rtn", {"bits": bits}).run(tower_of(net), [], None)}
    assert isinstance(net.both_ways, IntRecurrent)
    note = notes["both_ways"]
    assert most / 20 < note.error < most
    float_bytes = 4 * sum(matrix.numel() for matrix in weight_matrices(trained.both_ways).values())
    assert note.size_bytes == net.both_ways.size_bytes == note.bits / 32 * float_bytes
    if bits == 8:
        assert abs(accuracy(net) - before) <= 0.01
    save_network(net, tmp_path, tmp_path / "out")
    assert (tmp_path / "out" / WEIGHTS).stat().st_size < (bits / 32 + 0.1) * float_bytes
    rebuilt = load_network(tmp_path / "out", Reader())
    ids, _ = sequences(10, 2)
    assert bits_of(rebuilt) == bits_of(net)
    assert torch.equal(rebuilt(ids), net(ids))


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
@pytest.mark.parametrize("grid", [(8, 0, True), (4, 32, False), (2, 0, True)], ids=str)
@pytest.mark.parametrize(("layers", "both_ways"), [(1, False), (2, True)])
def test_it_answers_what_pytorch_answers_with_its_codes(kind, grid, layers, both_ways):
    torch.manual_seed(0)
    net = nn.ModuleDict({"layer": kind(40, 32, num_layers=layers, bidirectional=both_ways, batch_first=True)})
    plain = copy.deepcopy(net["layer"]).requires_grad_(False)
    make("rtn", dict(zip(("bits", "group", "symmetric"), grid, strict=True))).run(tower_of(net), [], None)
    layer = net["layer"]
    for name, matrix in weight_matrices(plain).items():
        matrix.copy_(layer.tables[name].dense())
    values = torch.randn(3, 7, 40)
    outputs, states = layer(values)
    wanted, wanted_states = plain(values)
    assert torch.equal(outputs, wanted)
    again, _ = layer(values, states)
    assert torch.equal(again, plain(values, wanted_states)[0])
    packed = nn.utils.rnn.pack_padded_sequence(values, torch.tensor([7, 5, 2]), batch_first=True)
    assert torch.equal(layer(packed)[0].data, plain(packed)[0].data)


def test_a_group_needs_as_many_inputs_in_every_matrix():
    net = nn.ModuleDict({"layer": nn.LSTM(16, 64)})
    (note,) = make("rtn", {"bits": 4, "group": 32}).run(tower_of(net), [], None)
    assert note.skipped == "its 16 inputs are fewer than one group of 32"
    assert isinstance(net["layer"], nn.LSTM)


def test_a_graph_is_refused(trained, monkeypatch):
    net = copy.deepcopy(trained)
    make("rtn", {}).run(tower_of(net), [], None)
    monkeypatch.setattr(torch.onnx, "is_in_onnx_export", lambda: True)
    with pytest.raises(ModelError, match="no ONNX route"):
        net.both_ways(torch.zeros(1, 2, 16))


def test_a_codec_of_transformers_is_covered(folder_of, tmp_path):
    model = open_model(str(folder_of("encodec")))
    counted = source_sites(model)
    step = Step(make("rtn", {}), ())
    notes = tuple(note for tower in model.towers for note in step.method.run(tower, [], None))
    rows = {row["site"]: row for row in coverage_table(model, [StepDone(step, notes, 0.0)], counted)}
    for site in ("encoder.layers.7.lstm", "decoder.layers.1.lstm"):
        assert (rows[site]["kind"], rows[site]["method"], rows[site]["skipped"]) == ("recurrent", "rtn", "")
        assert 8 < rows[site]["bits"] < 11
    layout = save_portable(model.net, model.folder, tmp_path / "out")
    assert layout.layout == "penjing"
    assert bits_of(load_network(tmp_path / "out")) == bits_of(model.net)
