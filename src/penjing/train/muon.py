"""Muon: the momentum of a matrix is made orthogonal before it is taken as a step (Jordan et al. 2024).

That of torch multiplies in bfloat16 whatever the chip: on one without instructions for it a product of 512 × 512 by
512 × 2048 took 4.4 s instead of 0.035 s (AMD EPYC with AVX2, one thread, torch 2.13). This one takes float32 there.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from penjing.train.launch import multiplies_bfloat16

MOMENTUM = 0.95
COEFFICIENTS = (3.4445, -4.775, 2.0315)
"""Of x, x³ and x⁵: five times over they take every singular value in (0, 1] near to 1."""
TIMES = 5
LIKE_ADAMW = 0.2
"""Root mean square of AdamW's steps (arXiv:2502.16982, section 2.2)."""
SMALLEST = 1e-7


class Muon(torch.optim.Optimizer):
    """For matrices; its steps have the size of AdamW's at the same rate, and weights shrink by `weight_decay` of it."""

    def __init__(self, matrices: Iterable[nn.Parameter], lr: float, weight_decay: float) -> None:
        super().__init__(matrices, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Take the step that the gradients ask for."""
        for group in self.param_groups:
            for matrix in group["params"]:
                if matrix.grad is not None:
                    self._move(matrix, group["lr"], group["weight_decay"])

    def _move(self, matrix: nn.Parameter, rate: float, decay: float) -> None:
        kept = self.state[matrix]
        if not kept:
            kept["momentum_buffer"] = torch.zeros_like(matrix)
        momentum = kept["momentum_buffer"].lerp_(matrix.grad, 1 - MOMENTUM)
        step = orthogonal(matrix.grad.lerp(momentum, MOMENTUM))  # type: ignore[union-attr]
        size = LIKE_ADAMW * math.sqrt(max(matrix.shape))
        matrix.mul_(1 - rate * decay).add_(step, alpha=-rate * size)


def operations(shape: tuple[int, int]) -> int:
    """Floating-point operations of making a matrix orthogonal.

    With n the shorter and m the longer side, an iteration takes 4 n² m + 2 n³ (twice n × m by n, once n × n by n, two
    operations for each multiplication).
    """
    n, m = min(shape), max(shape)
    return TIMES * (4 * n * n * m + 2 * n**3)


def orthogonal(matrix: Tensor) -> Tensor:
    """The matrix (rows, columns) with its singular values near 1, by Newton-Schulz iterations of fifth order."""
    kind = torch.bfloat16 if multiplies_bfloat16() else torch.float32
    wide = matrix.shape[0] <= matrix.shape[1]
    found = (matrix if wide else matrix.T).to(kind)
    found = found / found.norm().clamp(min=SMALLEST)
    first, third, fifth = COEFFICIENTS
    for _ in range(TIMES):
        square = found @ found.T
        found = torch.addmm(found, torch.addmm(square, square, square, beta=third, alpha=fifth), found, beta=first)
    return (found if wide else found.T).to(matrix.dtype)
