"""Scores and the refit, against what can be worked out by hand or by least squares."""

from __future__ import annotations

import pytest
import torch

from penjing.tensor.importance import by_unit, most, output_energy, refit, squared_norms


def test_values_are_summed_over_units_and_strangers_left_out():
    found = by_unit(torch.tensor([1.0, 2.0, 4.0, 8.0]), torch.tensor([1, 0, 1, -1]), 2)
    assert found.tolist() == [2.0, 5.0]


def test_norms_of_rows_and_of_columns():
    weight = torch.tensor([[3.0, 4.0], [1.0, 0.0]])
    assert squared_norms(weight).tolist() == [25.0, 1.0]
    assert squared_norms(weight, 1).tolist() == [10.0, 16.0]
    assert squared_norms(weight.view(2, 2, 1, 1), 1).tolist() == [10.0, 16.0]


def test_energy_of_a_channel_is_what_it_adds_to_the_output_alone():
    torch.manual_seed(0)
    weight, inputs = torch.randn(3, 4), torch.randn(4, 50)
    found = output_energy(weight, inputs.square().sum(1))
    for channel in range(4):
        alone = weight[:, channel : channel + 1] @ inputs[channel : channel + 1]
        assert float(found[channel]) == pytest.approx(float(alone.square().sum()), rel=1e-5)


@pytest.mark.parametrize("with_bias", [True, False])
def test_the_refit_is_the_least_squares_solution(with_bias):
    torch.manual_seed(0)
    inputs = torch.randn(6, 400) + 0.5
    inputs[4] = 0.7 * inputs[0] - inputs[1] + 0.3  # what goes hangs together with what stays
    weight, bias = torch.randn(5, 6), torch.randn(5) if with_bias else None
    stays = torch.tensor([True, True, False, True, False, True])
    found, moved = refit(weight, bias, inputs @ inputs.T, inputs.sum(1), 400, stays)
    rows = [inputs[stays]] + ([torch.ones(1, 400)] if with_bias else [])
    wanted = weight @ inputs + (0 if bias is None else bias[:, None])
    best = torch.linalg.lstsq(torch.cat(rows).T, wanted.T).solution.T
    torch.testing.assert_close(found, best[:, :4], rtol=1e-2, atol=1e-2)
    assert (moved is None) == (bias is None)
    if moved is not None:
        torch.testing.assert_close(moved, best[:, 4], rtol=1e-2, atol=1e-2)


def test_what_goes_without_having_been_heard_moves_nothing():
    weight = torch.randn(3, 4)
    gram = torch.diag(torch.tensor([1.0, 2.0, 3.0, 0.0]))
    found, _ = refit(weight, None, gram, torch.zeros(4), 10, torch.tensor([True, True, True, False]))
    torch.testing.assert_close(found, weight[:, :3])


def test_the_best_stay_and_of_equal_ones_the_first():
    assert most(torch.tensor([1.0, 3.0, 3.0, 2.0, 3.0]), 3).tolist() == [False, True, True, False, True]
    assert most(torch.ones(4), 2).tolist() == [True, True, False, False]
