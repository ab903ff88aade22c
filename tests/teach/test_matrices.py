"""Which matrices Muon moves by default: what it takes together is no more than learning takes."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from penjing.models.anything import model_around
from penjing.teach import matrices
from penjing.teach.answers import Answers
from penjing.teach.matrices import cheap_to_orthogonalize
from penjing.train.muon import operations


class Pooled(nn.Module):
    """A layer that reads every token, and one that reads their mean."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.pooled = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        pooled: torch.Tensor = self.pooled(torch.relu(self.tokens(values)).mean(1))
        return pooled


def cheap(net: nn.Module, item: dict[str, torch.Tensor], batch: int) -> tuple[str, ...]:
    objective = nn.Module()
    objective.net = net
    return cheap_to_orthogonalize(objective, Answers(model_around(net, item), [item], {}, False), [item], batch)


@pytest.fixture
def without_overhead(monkeypatch):
    """Count products alone, and grant nothing in any case."""
    monkeypatch.setattr(matrices, "FREE_OPERATIONS", 0)
    monkeypatch.setattr(matrices, "CALL_OPERATIONS", 1)
    monkeypatch.setattr(matrices, "STEP_OPERATIONS", 0)


def test_the_budget_goes_to_what_pays_best(without_overhead):
    """Of 20 tokens a row and 1, Muon for the first takes a share of 6 n m · 20 rows, so does the second."""
    net, item = Pooled(), {"values": torch.randn(1, 20, 8)}
    one = operations((8, 8))
    for batch in (1, 2, 3, 4, 9):
        learning = 6 * 64 * batch * (20 + 1)
        names = ("net.tokens.weight", "net.pooled.weight")[: learning // one]
        assert cheap(net, item, batch) == names


def test_the_large_layer_of_a_textbook_cnn_is_left_to_adamw():
    net = nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1), nn.MaxPool2d(2), nn.Conv2d(32, 64, 3, padding=1), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(4096, 1024), nn.Linear(1024, 10),
    )  # fmt: skip
    assert cheap(net, {"input": torch.randn(32, 3, 32, 32)}, 16) == ("net.6.weight",)


def test_all_of_a_small_network_is_moved():
    net = nn.Sequential(nn.Linear(128, 256), nn.Linear(256, 128))
    assert cheap(net, {"input": torch.randn(1, 128)}, 1) == ("net.0.weight", "net.1.weight")


def test_layers_that_take_most_of_their_time_to_be_called_pay(monkeypatch):
    monkeypatch.setattr(matrices, "FREE_OPERATIONS", 0)
    net = nn.Sequential(nn.Linear(64, 128), nn.Linear(128, 64))
    assert cheap(net, {"input": torch.randn(1, 64)}, 16) == ("net.0.weight", "net.1.weight")


def test_tables_are_not_learned_by_products(without_overhead):
    net = nn.Sequential(nn.Embedding(50, 8), nn.Linear(8, 8))
    assert cheap(net, {"input": torch.zeros(1, 200, dtype=torch.long)}, 1) == ("net.1.weight",)


class Rounded(nn.Module):
    """A layer whose weight lies in a module of its own, which is called without an input."""

    def __init__(self) -> None:
        super().__init__()
        self.grid = Grid()

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        product: torch.Tensor = values @ self.grid().T
        return product


class Grid(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.latent = nn.Parameter(torch.randn(8, 8))

    def forward(self) -> torch.Tensor:
        return self.latent * 1.0


@pytest.mark.parametrize("rows", [1, 20])
def test_weights_that_are_rounded_count_what_their_layer_reads(rows, without_overhead):
    learning, wanted = 6 * 64 * rows, operations((8, 8))
    assert cheap(nn.Sequential(Rounded()), {"input": torch.randn(1, rows, 8)}, 1) == (
        ("net.0.grid.latent",) if wanted <= learning else ()
    )


def test_transposed_layers_count_rows_all_the_same(without_overhead):
    """transformers' Conv1D keeps (in, out)."""
    from transformers.pytorch_utils import Conv1D

    wide, item = nn.Sequential(Conv1D(64, 8)), {"input": torch.randn(1, 20, 8)}
    plain = nn.Sequential(nn.Linear(8, 64))
    for batch in (1, 2, 4):
        assert len(cheap(wide, item, batch)) == len(cheap(plain, item, batch))
