"""Rounding that can be learned: codes as a function of offsets and scales that gradients reach.

W (out, groups, group) stands for round(W / (s·g) + v) · s·g, where the offsets v in [−½, ½] decide up or down and the
factors g widen or narrow each group's grid (SignRound, arXiv:2309.05516, equations 3 and 4).
"""

from __future__ import annotations

import torch
from torch import Tensor

NARROWEST, WIDEST = 0.5, 1.2
"""How far a factor may take a group's scale."""


def rounded_through(values: Tensor) -> Tensor:
    """Round, and let gradients pass as if it had not been done (straight-through, arXiv:1308.3432)."""
    return values + (values.round() - values).detach()


def learned_codes(groups: Tensor, scales: Tensor, zeros: Tensor, offsets: Tensor, top: int) -> Tensor:
    """Codes (out, groups, group), whole numbers in float that carry gradients: scales and zeros (out, groups)."""
    steps = groups / scales.unsqueeze(-1) + offsets
    return (rounded_through(steps) + zeros.unsqueeze(-1)).clamp(0, top)


def learned_weights(groups: Tensor, scales: Tensor, zeros: Tensor, offsets: Tensor, top: int) -> Tensor:
    """The weights that the codes stand for, (out, groups, group)."""
    codes = learned_codes(groups, scales, zeros, offsets, top)
    return (codes - zeros.unsqueeze(-1)) * scales.unsqueeze(-1)


@torch.no_grad()
def signed_step(values: Tensor, rate: float, low: float, high: float) -> None:
    """Move against the sign of the gradient, in place, within bounds; forget the gradient."""
    if values.grad is not None:
        values.sub_(rate * values.grad.sign()).clamp_(low, high)
        values.grad = None
