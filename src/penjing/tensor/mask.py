"""Masks: W ⊙ m, where m is 1 for a weight that stays and 0 for one that goes."""

from __future__ import annotations

import torch
from torch import Tensor


def magnitude_mask(weight: Tensor, share: float) -> Tensor:
    """Keep the largest magnitudes: a boolean mask of the weight's shape with `share` (0 to 1) of it false.

    Of equal magnitudes the later ones go first, so that exactly so many go (Han et al. 2015, arXiv:1506.02626).
    """
    if not 0 <= share <= 1:
        raise ValueError(f"a share of {share} is not between 0 and 1")
    kept = weight.numel() - round(share * weight.numel())
    order = weight.abs().flatten().argsort(descending=True, stable=True)
    mask = torch.zeros(weight.numel(), dtype=torch.bool, device=weight.device)
    mask[order[:kept]] = True
    return mask.reshape(weight.shape)
