"""How large each channel of a site's inputs gets: what SmoothQuant chooses its scales by."""

from __future__ import annotations

import torch
from torch import Tensor

from penjing.calibrate.walk import Statistic


class Magnitude(Statistic):
    """Per channel: smallest and largest value over all tokens; each (in,)."""

    def __init__(self) -> None:
        self._low = self._high = torch.zeros(())

    def see(self, values: Tensor) -> None:
        """Take in one input, (..., in)."""
        rows = values.reshape(-1, values.shape[-1])
        self._low = torch.minimum(self._low, rows.amin(0))
        self._high = torch.maximum(self._high, rows.amax(0))
        self.check(self._low + self._high)

    @property
    def bounds(self) -> tuple[Tensor, Tensor]:
        """Smallest and largest value of each channel, zero included."""
        return self._low, self._high

    @property
    def largest(self) -> Tensor:
        """The largest magnitude."""
        return torch.maximum(-self._low, self._high)
