"""Half-quadratic rounding: grids that fit most weights well and let outliers be outliers, from the weights alone.

Rounding to nearest minimises squares, so a few large weights stretch the grid for all. HQQ (Badri & Shaji 2023)
minimises Σ |W − Ŵ|^p with p < 1 instead: it splits the error into a sparse part E, found by a shrinkage, and the rest,
which a least-squares fit of the grid takes care of, and alternates the two.
"""

from __future__ import annotations

import torch
from torch import Tensor

from penjing.tensor.grid import TINY, Codes, encode, fit_asymmetric, fit_symmetric, to_groups

NORM = 0.7
FIRST_SHARPNESS, SHARPER = 10.0, 1.01
MOST_TURNS = 20
ROWS_AT_ONCE = 4096


def shrink(values: Tensor, sharpness: float, norm: float = NORM) -> Tensor:
    """The sparse part of an error, in steps of the grid: sign(x) · max(|x| − |x|^(p−1) / β, 0), HQQ's equation 5."""
    size = values.abs()
    return values.sign() * (size - size.clamp_min(1e-6) ** (norm - 1) / sharpness).clamp_min(0)


def half_quadratic(weight: Tensor, bits: int, group: int = 0, *, symmetric: bool = True) -> Codes:
    """Codes of weights (out, in); the grid of a group is the best met in at most 20 turns, by Σ |w − ŵ|^0.7.

    A symmetric grid fits its scale, an asymmetric one its zero, which stays a whole number for the engines' sake. Rows
    are worked on a few thousand at a time: a table of words is large.
    """
    starts = range(0, len(weight), ROWS_AT_ONCE)
    parts = [_fit_rows(weight.detach()[start : start + ROWS_AT_ONCE], bits, group, symmetric) for start in starts]
    return Codes(*(torch.cat(same) for same in zip(*parts, strict=True)))


def _fit_rows(weight: Tensor, bits: int, group: int, symmetric: bool) -> Codes:
    groups = to_groups(weight.float(), group)
    real = to_groups(torch.ones(1, weight.shape[1]), group)
    scales, zeros = (fit_symmetric if symmetric else fit_asymmetric)(groups, bits)
    best_scales, best_zeros, best = scales, zeros, torch.full_like(scales, torch.inf)
    sharpness = FIRST_SHARPNESS
    for _ in range(MOST_TURNS):
        codes = encode(groups, scales, zeros, bits)
        steps = codes - zeros.unsqueeze(-1)
        error = groups - steps * scales.unsqueeze(-1)
        lost = (error.abs() ** NORM).sum(-1)
        better = lost < best
        best = torch.where(better, lost, best)
        best_scales = torch.where(better, scales, best_scales)
        best_zeros = torch.where(better, zeros, best_zeros)
        smooth = groups - shrink(error / scales.unsqueeze(-1), sharpness) * scales.unsqueeze(-1)
        if symmetric:
            fitted = (smooth * steps).sum(-1) / steps.square().sum(-1).clamp_min(TINY)
            scales = torch.where(fitted > 0, fitted, scales).clamp_min(TINY)
        else:
            wanted = (codes - smooth / scales.unsqueeze(-1)) * real
            zeros = (wanted.sum(-1) / real.sum(-1)).round().clamp(0, 2**bits - 1)
        sharpness *= SHARPER
    return Codes(encode(groups, best_scales, best_zeros, bits).to(torch.uint8), best_scales, best_zeros)
