"""How large each channel of a site's inputs gets: what SmoothQuant and AWQ choose their scales by."""

from __future__ import annotations

import torch
from torch import Tensor

from penjing.calibrate.walk import Statistic


class Magnitude(Statistic):
    """Per channel: smallest and largest value, and the mean magnitude, over all tokens; each (in,)."""

    def __init__(self) -> None:
        self.tokens = 0
        self._low = self._high = self._sum = torch.zeros(())

    def see(self, values: Tensor) -> None:
        """Take in one input, (..., in)."""
        rows = values.reshape(-1, values.shape[-1])
        self._low = torch.minimum(self._low, rows.amin(0))
        self._high = torch.maximum(self._high, rows.amax(0))
        self._sum = self._sum + rows.abs().sum(0)
        self.tokens += len(rows)

    @property
    def bounds(self) -> tuple[Tensor, Tensor]:
        """Smallest and largest value of each channel, zero included."""
        return self._low, self._high

    @property
    def largest(self) -> Tensor:
        """The largest magnitude."""
        return torch.maximum(-self._low, self._high)

    @property
    def mean(self) -> Tensor:
        """The mean magnitude."""
        return self._sum / max(self.tokens, 1)

    @property
    def finite(self) -> bool:
        """Whether everything seen was finite."""
        return bool(torch.isfinite(self._sum).all())
