"""Rounding that gradients pass through, against finite differences where the grid is smooth."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from penjing.tensor.grid import Codes, encode
from penjing.tensor.learned import learned_grid, round_through


def test_it_rounds_as_codes_do():
    weight = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    scales, zeros = torch.full((6, 1), 0.3), torch.full((6, 1), 8.0)
    codes = encode(weight[:, None, :], scales, zeros, 4)
    wanted = Codes(codes, scales, zeros).dequantize(4)
    assert torch.allclose(learned_grid(weight, scales, zeros, 15), wanted, atol=1e-6)


def test_a_weight_passes_its_gradient_within_the_grid_and_none_beyond():
    weight = torch.tensor([0.2, 0.74, 5.0, -5.0], requires_grad=True)
    learned_grid(weight, torch.tensor(0.5), torch.tensor(4.0), 7).sum().backward()
    assert weight.grad.tolist() == [1.0, 1.0, 0.0, 0.0]


@given(st.integers(0, 1000))
def test_the_gradient_by_a_scale_is_its_slope_beyond_the_grid(seed):
    """There the code is the border's, and the weight changes smoothly with the scale."""
    source = torch.Generator().manual_seed(seed)
    weight = (5 + torch.rand(8, generator=source)) * torch.randn(8, generator=source).sign()
    scale, zero = torch.tensor(0.5, requires_grad=True), torch.tensor(4.0)
    (slope,) = torch.autograd.grad(learned_grid(weight, scale, zero, 7).sum(), scale)
    step = 1e-3
    high, low = (learned_grid(weight, torch.tensor(0.5 + way * step), zero, 7).sum() for way in (1, -1))
    assert float(slope) == pytest.approx(float(high - low) / (2 * step), rel=1e-2, abs=1e-2)


def test_the_gradient_by_a_scale_within_the_grid_is_what_rounding_takes():
    """LSQ, eq. 3: round(w / s) − w / s."""
    scale = torch.tensor(0.5, requires_grad=True)
    (slope,) = torch.autograd.grad(learned_grid(torch.tensor(0.7), scale, torch.tensor(4.0), 7), scale)
    assert float(slope) == pytest.approx(1 - 1.4)


def test_round_through():
    values = torch.tensor([0.4, 1.6], requires_grad=True)
    found = round_through(values)
    (3 * found).sum().backward()
    assert found.tolist() == [0.0, 2.0]
    assert values.grad.tolist() == [3.0, 3.0]
