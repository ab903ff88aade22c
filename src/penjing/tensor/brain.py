"""The optimal-brain column update that GPTQ and SparseGPT share, and GPTQ itself.

A layer y = W x loses ‖(W − Ŵ) X‖² = tr((W − Ŵ) H (W − Ŵ)ᵀ) with H = X Xᵀ. Columns are settled one after the other, and
those not yet settled move so as to make up for what each one lost (Optimal Brain Surgeon, Hassibi & Stork 1993). All
weights are (out, in), H is (in, in).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from penjing.tensor.grid import TINY, Codes, fit_grid

COLUMNS_AT_ONCE = 128
"""Columns after whose settling the rest is brought up to date, so that most of the work is one product."""

MOST_DAMPING_STEPS = 6
"""Times that damping may grow tenfold."""

Settle = Callable[[int, Tensor], Tensor]
"""Takes a column's place, and its values and those of the columns behind it that are brought up to date with it,
(out, 1 to `at_once`), as they are by now; gives the values that the column keeps, (out,)."""


def inverse_root(gram: Tensor, damping: float) -> Tensor:
    """Upper triangular U with UᵀU = (H + damping · mean(diag H) · I)⁻¹: (in, in) -> (in, in), float32.

    An input that was always zero has a zero diagonal there, and 1 is put in its place. Where the factor does not exist
    in this precision damping grows tenfold until it does (GPTQ, arXiv:2210.17323, section 3.3, step 3).
    """
    gram = gram.double()
    diagonal = gram.diagonal()
    dead = diagonal <= 0
    level = float(diagonal[~dead].mean()) if bool((~dead).any()) else 1.0
    for _ in range(MOST_DAMPING_STEPS):
        damped = gram.clone()
        damped.diagonal().add_(dead * level + damping * level)
        factor, failed = torch.linalg.cholesky_ex(damped)
        if not failed:
            root, failed = torch.linalg.cholesky_ex(torch.cholesky_inverse(factor), upper=True)
            if not failed and bool(torch.isfinite(root).all()):
                found: Tensor = root.float()
                return found
        damping *= 10
    raise ValueError("the statistics of the inputs have no inverse, however much they are damped")


def sweep(weight: Tensor, root: Tensor, settle: Settle, at_once: int = COLUMNS_AT_ONCE) -> Tensor:
    """Settle columns from the first to the last: weight (out, in), root = `inverse_root` (in, in) -> (out, in).

    Column j loses e = (w − settled) / U[j, j]; the columns k behind it move by −e · U[j, k] (arXiv:2210.17323, eq. 3).
    """
    rest, settled = weight.float().clone(), torch.empty_like(weight, dtype=torch.float32)
    width = weight.shape[1]
    for start in range(0, width, at_once):
        stop = min(start + at_once, width)
        part, corner = rest[:, start:stop], root[start:stop, start:stop]
        lost = torch.empty_like(part)
        for place in range(stop - start):
            column = part[:, place]
            kept = settle(start + place, part[:, place:])
            settled[:, start + place] = kept
            lost[:, place] = (column - kept) / corner[place, place]
            part[:, place + 1 :].addr_(lost[:, place], corner[place, place + 1 :], alpha=-1)
        rest[:, stop:] -= lost @ root[start:stop, stop:]
    return settled


def gptq(
    weight: Tensor,
    gram: Tensor,
    grid: tuple[int, int, bool],
    damping: float,
    *,
    by_activation: bool,
    mask: Tensor | None = None,
) -> Codes:
    """Codes of GPTQ (arXiv:2210.17323) on the grid (bits, group, symmetric): weight (out, in), gram (in, in).

    Where a `mask` (out, in) is false the code is the zero point, and the columns behind make up for that, too
    (SparseGPT, arXiv:2301.00774, section 3.5). Each group's scale is the one of least squared error, inputs weighted by
    their energy diag(H), and fixed before the first column is settled; so `by_activation`, which settles inputs of
    large energy first, leaves groups where they lie and costs nothing when the codes are run.
    """
    bits, group, symmetric = grid
    width = weight.shape[1]
    group = group or width
    energy = gram.diagonal()
    order = energy.argsort(descending=True, stable=True) if by_activation else torch.arange(width)
    scales, zeros = fit_grid(weight, bits, group, symmetric=symmetric, importance=energy)
    codes = torch.zeros(len(weight), scales.shape[1] * group, dtype=torch.uint8)
    top = 2**bits - 1

    def settle(place: int, ahead: Tensor) -> Tensor:
        column = int(order[place])
        scale, zero = scales[:, column // group], zeros[:, column // group]
        code = ((ahead[:, 0] / scale).round() + zero).clamp(0, top)
        if mask is not None:
            code = torch.where(mask[:, column], code, zero)
        codes[:, column] = code.to(torch.uint8)
        return (code - zero) * scale

    sweep(weight.float()[:, order], inverse_root(gram[order][:, order], damping), settle)
    padding = torch.ones(codes.shape[1], dtype=torch.bool)
    padding[:width] = False
    grouped, blank = codes.view(len(weight), -1, group), padding.view(-1, group)
    grouped = torch.where(blank, zeros.unsqueeze(-1).to(torch.uint8), grouped)
    return Codes(grouped, scales, zeros)


def squared_output_error(lost: Tensor, gram: Tensor) -> float:
    """‖Δ X‖² = tr(Δ H Δᵀ) of a change Δ (out, in) of the weights, from the inputs' Gram matrix (in, in) alone."""
    return max(float(((lost @ gram) * lost).sum()), 0.0)


def output_error(weight: Tensor, rounded: Tensor, gram: Tensor) -> float:
    """‖(W − Ŵ) X‖ / ‖W X‖: two (out, in), gram (in, in)."""
    whole = max(squared_output_error(weight, gram), TINY)
    return math.sqrt(squared_output_error(weight - rounded, gram) / whole)
