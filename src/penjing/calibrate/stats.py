"""Statistics of what a site sees: the range of its inputs, and a sample of them to choose a range by."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from penjing.calibrate.walk import Statistic
from penjing.tensor.grid import activation_grid, fake_quantize

SAMPLE_PER_CALL = 8192
"""Values kept of each call for percentile and MSE ranges, evenly spaced over the input."""

PERCENTILE = 99.99
RANGE_SHRINKS = tuple(1.0 - 0.025 * step for step in range(28))

RangeRule = Literal["absmax", "percentile", "mse"]


class Range(Statistic):
    """Smallest and largest input, a sample of all, and whether any was not finite."""

    def __init__(self) -> None:
        self.low = 0.0
        self.high = 0.0
        self.calls = 0
        self.kept: list[Tensor] = []

    def see(self, values: Tensor) -> None:
        """Take in one input."""
        self.calls += 1
        low, high = float(values.min()), float(values.max())
        self.check(low + high)
        self.low, self.high = min(self.low, low), max(self.high, high)
        flat = values.reshape(-1)
        self.kept.append(flat[:: max(1, flat.numel() // SAMPLE_PER_CALL)].clone())

    def bounds(self, rule: RangeRule) -> tuple[float, float]:
        """Return the range that the rule chooses, zero included.

        absmax: everything seen. percentile: 99.99% of the sample on each side. mse: the range of least squared error
        over the sample, among shrunken absmax ranges.
        """
        if rule == "absmax":
            return self.low, self.high
        sample = torch.cat(self.kept).float()
        if rule == "percentile":
            low, high = (_quantile(sample, share) for share in (1 - PERCENTILE / 100, PERCENTILE / 100))
            return min(low, 0.0), max(high, 0.0)
        return min(
            ((self.low * shrink, self.high * shrink) for shrink in RANGE_SHRINKS),
            key=lambda b: _range_error(sample, *b),
        )


def _quantile(sample: Tensor, share: float) -> float:
    """Value below which `share` of the sample lies, by sorting (torch.quantile refuses large inputs)."""
    ordered = sample.sort().values
    return float(ordered[min(ordered.numel() - 1, int(share * ordered.numel()))])


def _range_error(sample: Tensor, low: float, high: float) -> float:
    scale, zero = activation_grid(low, high)
    rounded = fake_quantize(sample, torch.tensor(scale), torch.tensor(float(zero)))
    return float((rounded - sample).square().sum())
