"""Grids that are learned: rounding that gradients pass through (arXiv:1308.3432), with scales that have some of their
own (LSQ, arXiv:1902.08153).
"""

from __future__ import annotations

from torch import Tensor


def round_through(values: Tensor) -> Tensor:
    """round(x), and dx as its gradient."""
    return values + (values.round() - values).detach()


def learned_grid(values: Tensor, scales: Tensor, zeros: Tensor, top: int) -> Tensor:
    """(clamp(round(v / s) + z, 0, top) − z) · s with gradients by v and s (LSQ, eq. 1 to 3).

    By v it is 1 within the grid and 0 beyond; by s it is round(v / s) − v / s within and the border's code beyond.
    `scales` and `zeros` are of a shape that is broadcast to the values'.
    """
    codes = (round_through(values / scales) + zeros).clamp(0, top)
    return (codes - zeros) * scales
