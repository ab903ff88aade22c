"""SparseGPT: which weights go is decided while the others move to make up for those that went (arXiv:2301.00774)."""

from __future__ import annotations

import torch
from torch import Tensor

from penjing.tensor.brain import COLUMNS_AT_ONCE, inverse_root, sweep
from penjing.tensor.mask import keep_largest, keep_n_of_m

GONE = -1.0
"""Score of a weight that an earlier mask took: it goes first."""


def sparsegpt(
    weight: Tensor,
    gram: Tensor,
    damping: float,
    share: float,
    pattern: tuple[int, int] | None = None,
    mask: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Weights that make up for those that are gone, and the mask: weight (out, in), gram (in, in) -> two (out, in).

    Of every 128 columns the `share` of least w² / [U]²_jj goes, the saliency of Optimal Brain Surgeon with what is left
    behind (section 3.3 and algorithm 1); by a `pattern` n:m the n largest of every m inputs stay instead. What a `mask`
    took before is gone.
    """
    n, m = pattern or (0, 1)
    root = inverse_root(gram, damping)
    strength = root.diagonal().square()
    before = torch.ones_like(weight, dtype=torch.bool) if mask is None else mask
    kept = torch.zeros_like(before)
    at_once = COLUMNS_AT_ONCE - COLUMNS_AT_ONCE % m

    def settle(place: int, ahead: Tensor) -> Tensor:
        if place % (m if pattern else at_once) == 0:
            stop = place + min(m if pattern else at_once, ahead.shape[1])
            scores = ahead[:, : stop - place].square() / strength[place:stop]
            scores = torch.where(before[:, place:stop], scores, GONE)
            chosen = keep_n_of_m(scores, n, m) if pattern else keep_largest(scores, share)
            kept[:, place:stop] = chosen & before[:, place:stop]
        return ahead[:, 0] * kept[:, place]

    settled = sweep(weight, root, settle, at_once)
    return settled, kept
