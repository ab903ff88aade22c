"""Low rank by hand, by brute force, and against plain truncation; the laws that hold for every matrix."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from penjing.tensor.brain import output_error
from penjing.tensor.lowrank import factors, rank_of_energy, rank_of_share, root_of, saves, spectrum


def draw(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def uneven_inputs(seed: int, width: int, tokens: int) -> torch.Tensor:
    """Inputs (tokens, width) whose channels differ a hundredfold and hang together."""
    return draw(seed, tokens, width) @ draw(seed + 1, width, width) * torch.logspace(0, -2, width)


def cut(weight: torch.Tensor, gram: torch.Tensor | None, rank: int, damping: float = 0.0) -> torch.Tensor:
    up, down = factors(weight, spectrum(weight, gram, damping), rank)
    return up @ down


def test_by_hand():
    # Plain: the larger of two outputs stays. Inputs a hundred times as large where the smaller one reads: it stays.
    weight = torch.diag(torch.tensor([2.0, 1.0]))
    assert torch.allclose(cut(weight, None, 1), torch.diag(torch.tensor([2.0, 0.0])), atol=1e-6)
    gram = torch.diag(torch.tensor([1.0, 1e4]))
    assert torch.allclose(cut(weight, gram, 1), torch.diag(torch.tensor([0.0, 1.0])), atol=1e-6)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_no_other_matrix_of_the_rank_does_better(rank):
    """Brute force on 4 × 4: from many starts, factors are improved by least squares in turns until they stand."""
    weight, inputs = draw(0, 4, 4).double(), uneven_inputs(1, 4, 50).double()
    gram = inputs.T @ inputs
    ours = float(((weight - cut(weight.float(), gram, rank)) @ inputs.T).norm())
    best = math.inf
    for seed in range(20):
        up = draw(seed, 4, rank).double()
        for _ in range(400):
            down = torch.linalg.lstsq(up, weight).solution
            mixed = down @ inputs.T
            up = torch.linalg.lstsq(mixed.T, inputs @ weight.T).solution.T
        best = min(best, float(((weight - up @ down) @ inputs.T).norm()))
    assert ours <= best * (1 + 1e-5)


def test_beats_plain_truncation_where_inputs_are_uneven():
    weight, inputs = draw(2, 24, 16), uneven_inputs(3, 16, 400)
    gram = inputs.T @ inputs
    errors = {
        name: output_error(weight, cut(weight, seen, 4), gram) for name, seen in (("ours", gram), ("plain", None))
    }
    assert errors["ours"] < 0.7 * errors["plain"]


def test_the_error_is_what_the_values_left_out_say():
    weight, inputs = draw(4, 12, 10), uneven_inputs(5, 10, 300)
    gram = inputs.T @ inputs
    values = spectrum(weight, gram).values
    wanted = float(values[3:].square().sum().sqrt() / values.square().sum().sqrt())
    assert output_error(weight, cut(weight, gram, 3), gram) == pytest.approx(wanted, rel=1e-4)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 99), st.booleans())
def test_full_rank_is_the_matrix_itself(out, width, seed, dead):
    weight, inputs = draw(seed, out, width), draw(seed + 1, 3, width)  # fewer tokens than inputs: H has no inverse
    if dead:
        inputs[:, 0] = 0
    found = cut(weight, inputs.T @ inputs, min(out, width), damping=1e-3)
    assert torch.allclose(found, weight, atol=2e-3 * float(weight.abs().max()))


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 9), st.integers(2, 9), st.integers(0, 99))
def test_a_larger_rank_never_loses_more(out, width, seed):
    weight, inputs = draw(seed, out, width), uneven_inputs(seed + 1, width, 40)
    gram = inputs.T @ inputs
    errors = [output_error(weight, cut(weight, gram, rank), gram) for rank in range(1, min(out, width) + 1)]
    assert all(after <= before + 1e-3 for before, after in itertools.pairwise(errors))


def test_the_root_is_one():
    inputs = uneven_inputs(6, 8, 30)
    gram = (inputs.T @ inputs).double()
    root = root_of(gram, 0.0)
    assert torch.allclose(root @ root.T, gram, rtol=1e-9)


def test_ranks_by_energy_and_by_share():
    values = torch.tensor([3.0, 2.0, 1.0])  # squares 9, 4, 1 of 14
    assert [rank_of_energy(values, share) for share in (0.5, 9 / 14, 0.9, 13 / 14, 0.95, 1.0)] == [1, 1, 2, 2, 3, 3]
    assert rank_of_energy(torch.zeros(3), 0.9) == 1
    assert rank_of_share(100, 300, 0.5) == 37  # 37.5 · 400 numbers are half of 30,000
    assert rank_of_share(4, 4, 0.01) == 1
    assert saves(100, 300, 74)
    assert not saves(100, 300, 75)
