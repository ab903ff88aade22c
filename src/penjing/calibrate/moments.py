"""First and second moments of what a layer reads, channel by channel: what narrowing weighs and refits by."""

from __future__ import annotations

import torch
from torch import Tensor

from penjing.calibrate.gram import Gram, Products

PICTURE = 4
"""Dimensions of a batch of pictures, whose channels lie second."""


class Moments(Gram):
    """Σ x xᵀ (in, in), Σ x (in,) and the number of tokens; a place in a picture counts as a token."""

    def __init__(self) -> None:
        super().__init__(Products())
        self.total = torch.zeros(())

    def see(self, values: Tensor) -> None:
        """Take in one input, (..., in), or pictures (batch, in, height, width)."""
        rows = values.movedim(1, -1) if values.dim() == PICTURE else values
        super().see(rows)
        self.total = self.total + rows.reshape(-1, rows.shape[-1]).float().sum(0)
