"""The range of a site's inputs, and the rules that choose one."""

from __future__ import annotations

import pytest
import torch

from penjing.calibrate.stats import Range
from penjing.tensor.grid import activation_grid, fake_quantize


def seen(*inputs: torch.Tensor) -> Range:
    found = Range()
    for values in inputs:
        found.see(values)
    return found


def test_absmax_is_everything_seen_and_zero():
    found = seen(torch.tensor([1.0, 5.0]), torch.tensor([[2.0], [7.0]]))
    assert found.bounds("absmax") == (0.0, 7.0)
    assert found.calls == 2
    assert seen(torch.tensor([-3.0, -1.0])).bounds("absmax") == (-3.0, 0.0)


def test_percentile_leaves_the_outlier_out():
    values = torch.linspace(-1, 1, 8192)
    outliers = values.clone()
    outliers[0], outliers[-1] = -500.0, 900.0
    found = seen(outliers, *[values] * 9)
    low, high = found.bounds("percentile")
    assert -1.1 < low < -0.9
    assert 0.9 < high < 1.1
    assert found.bounds("absmax") == (-500.0, 900.0)


@pytest.mark.parametrize("spread", [1.0, 3.0])
def test_mse_never_rounds_worse_than_absmax(spread):
    values = torch.randn(8192, generator=torch.Generator().manual_seed(0)).pow(3) * spread
    found = seen(values)

    def error(low: float, high: float) -> float:
        scale, zero = activation_grid(low, high)
        return float((fake_quantize(values, torch.tensor(scale), torch.tensor(float(zero))) - values).square().sum())

    assert error(*found.bounds("mse")) <= error(*found.bounds("absmax"))
    assert error(*found.bounds("mse")) < 0.9 * error(-100 * spread, 100 * spread)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_is_noticed(bad):
    values = torch.zeros(100)
    values[37] = bad
    assert not seen(torch.ones(4), values).finite
    assert seen(torch.ones(4)).finite


def test_a_large_input_is_sampled_evenly():
    found = seen(torch.arange(100_000.0))
    assert 8192 <= found.kept[0].numel() <= 9000
    assert float(found.kept[0].mean()) == pytest.approx(50_000, rel=0.01)
