"""Which matrices Muon moves by default: those that many rows go through in a step."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from penjing.models.anything import model_around
from penjing.teach.answers import Answers
from penjing.teach.matrices import MOST_RELATIVE_COST, cheap_to_orthogonalize
from penjing.train.muon import relative_cost


class Pooled(nn.Module):
    """A layer that reads every token, and one that reads their mean."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.pooled = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        pooled: torch.Tensor = self.pooled(torch.relu(self.tokens(values)).mean(1))
        return pooled


BOTH = ("net.tokens.weight", "net.pooled.weight")


@pytest.mark.parametrize(("batch", "names"), [(1, ()), (4, BOTH[:1]), (200, BOTH)])
def test_muon_moves_what_many_rows_go_through(batch, names, monkeypatch):
    monkeypatch.setattr("penjing.teach.matrices.UNNOTICED_OPERATIONS", 0)
    torch.manual_seed(0)
    net = Pooled()
    items = [{"values": torch.randn(1, 20, 8)} for _ in range(3)]
    model = model_around(net, items[0])
    objective = nn.Module()
    objective.net = net
    cheap = cheap_to_orthogonalize(objective, Answers(model, items, {}, False), items, batch)
    assert cheap == names
    assert (relative_cost((8, 8), 20 * batch) <= MOST_RELATIVE_COST) == ("net.tokens.weight" in cheap)


@pytest.mark.parametrize(("width", "names"), [(64, BOTH[:1]), (65, ())])
def test_muon_moves_small_matrices_whatever_goes_through(width, names):
    net = Pooled()
    net.tokens, net.pooled = nn.Linear(width, 256), nn.Linear(256, 256)
    items = [{"values": torch.randn(1, 2, width)}]
    objective = nn.Module()
    objective.net = net
    cheap = cheap_to_orthogonalize(objective, Answers(model_around(net, items[0]), items, {}, False), items, 1)
    assert cheap == names
