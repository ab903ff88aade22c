"""How much each input of a site carries: the squares of what it sees, summed. What Wanda scores weights by."""

from __future__ import annotations

import torch
from torch import Tensor

from penjing.calibrate.walk import Statistic


class Energy(Statistic):
    """Σ x² of each input over all tokens, (in,)."""

    def __init__(self) -> None:
        self.tokens = 0
        self._total = torch.zeros(())

    def see(self, values: Tensor) -> None:
        """Take in one input, (..., in)."""
        rows = values.reshape(-1, values.shape[-1]).float()
        self.tokens += len(rows)
        self._total = self._total + rows.square().sum(0)
        self.check(self._total.sum())

    @property
    def total(self) -> Tensor:
        """Σ x² of each input, (in,)."""
        return self._total

    @property
    def norm(self) -> Tensor:
        """‖x‖₂ of each input, (in,)."""
        return self._total.sqrt()
