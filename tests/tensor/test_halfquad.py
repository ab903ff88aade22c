"""Half-quadratic grids: nearer to the bulk than rounding, in the norm they are made for."""

from __future__ import annotations

import pytest
import torch

from penjing.tensor.grid import quantize
from penjing.tensor.halfquad import NORM, half_quadratic, shrink


def heavy(seed: int = 0) -> torch.Tensor:
    """Weights of which a few are far out."""
    source = torch.Generator().manual_seed(seed)
    return torch.randn(24, 96, generator=source) * (1 + 4 * (torch.rand(24, 96, generator=source) < 0.02))


def lost(weight: torch.Tensor, rounded: torch.Tensor) -> float:
    return float(((weight - rounded).abs() ** NORM).sum())


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize(("bits", "group"), [(4, 32), (3, 0), (2, 32), (8, 0)])
def test_never_worse_than_rounding_in_its_own_norm(bits, group, symmetric):
    for seed in range(3):
        weight = heavy(seed)
        plain = quantize(weight, bits, group, symmetric=symmetric).dequantize(96)
        found = half_quadratic(weight, bits, group, symmetric=symmetric).dequantize(96)
        assert lost(weight, found) <= lost(weight, plain) * (1 + 1e-6)


def test_with_outliers_it_is_clearly_better():
    weight = heavy()
    plain = quantize(weight, 3, 0).dequantize(96)
    assert lost(weight, half_quadratic(weight, 3, 0).dequantize(96)) < 0.9 * lost(weight, plain)


def test_zeros_stay_whole_and_codes_in_range():
    found = half_quadratic(heavy(), 3, 32, symmetric=False)
    assert torch.equal(found.zeros, found.zeros.round())
    assert int(found.codes.max()) <= 7


def test_shrinking_takes_the_small_and_leaves_the_large():
    values = torch.tensor([0.01, -0.3, 5.0])
    small, middle, large = shrink(values, 10.0).tolist()
    assert small == 0.0
    assert middle == pytest.approx(-(0.3 - 0.3**-0.3 / 10))
    assert large == pytest.approx(5 - 5**-0.3 / 10)


def test_a_row_of_zeros_stays_one():
    weight = torch.zeros(2, 32)
    assert torch.equal(half_quadratic(weight, 4, 32).dequantize(32), weight)
