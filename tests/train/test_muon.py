"""Orthogonal steps: as torch takes them, in float32 where the chip has no bfloat16."""

from __future__ import annotations

import pytest
import torch

from penjing.train.muon import Muon, operations, orthogonal
from penjing.train.optimizer import Optimizers
from penjing.train.plan import Plan


@pytest.fixture(params=[False, True], ids=["float32", "bfloat16"])
def chip(request, monkeypatch):
    monkeypatch.setattr("penjing.train.muon.multiplies_bfloat16", lambda: request.param)


@pytest.mark.parametrize("shape", [(8, 8), (6, 20), (20, 6)])
def test_singular_values_come_near_to_one_and_their_directions_stay(shape, chip):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    found = orthogonal(matrix)
    assert found.shape == matrix.shape
    assert found.dtype == torch.float32
    values = torch.linalg.svdvals(found)
    assert 0.6 < float(values.min()) <= float(values.max()) < 1.3
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    alike = torch.cosine_similarity(found.flatten(), (left @ right).flatten(), 0)
    assert float(alike) > 0.97


def test_a_matrix_of_zeros_stays(chip):
    assert orthogonal(torch.zeros(3, 4)).abs().max() == 0


def test_it_steps_as_that_of_torch_does(chip):
    start = torch.randn(12, 5, generator=torch.Generator().manual_seed(1))
    mine, theirs = (torch.nn.Parameter(start.clone()) for _ in range(2))
    ours = Muon([mine], 0.1, 0.5)
    torchs = torch.optim.Muon([theirs], 0.1, 0.5, adjust_lr_fn="match_rms_adamw")
    for step in range(4):
        gradient = torch.randn(12, 5, generator=torch.Generator().manual_seed(2 + step))
        mine.grad, theirs.grad = gradient.clone(), gradient.clone()
        ours.step()
        torchs.step()
    moved = (theirs - start).norm()
    assert (mine - theirs).norm() < 0.03 * moved
    assert moved > 0.1


def test_adamw_moves_matrices_where_it_is_asked_to():
    layer = torch.nn.Linear(3, 4)
    for orthogonal_steps, kept in ((True, {"momentum_buffer"}), (False, {"step", "exp_avg", "exp_avg_sq"})):
        both = Optimizers(layer, Plan(10), orthogonal_steps)
        layer(torch.ones(2, 3)).sum().backward()
        both.advance(0)
        assert {name.partition("/")[0] for name in both.moments() if name.endswith("/weight")} == kept


def test_the_cost_of_a_step_counts_products_as_they_are_written():
    """Five iterations of n×m by m×n, n×n by n×n and n×n by n×m."""
    for rows, columns in ((2, 3), (7, 4)):
        n, m = min(rows, columns), max(rows, columns)
        iteration = 2 * (n * m * n) + 2 * (n * n * n) + 2 * (n * n * m)
        assert operations((rows, columns)) == 5 * iteration


def test_muon_moves_the_matrices_that_are_named():
    net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2))
    both = Optimizers(net, Plan(10), ("1.weight",))
    net(torch.ones(2, 3)).sum().backward()
    both.advance(0)
    assert {name for name in both.moments() if name.startswith("momentum_buffer")} == {"momentum_buffer/1.weight"}
