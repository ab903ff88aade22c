"""Masks: W ⊙ m, where m is true for a weight that stays and false for one that goes.

A mask is made in two moves: a score for every weight, and a rule which of the scores stay. Whatever the rule, of equal
scores the later ones go first, so that exactly so many go.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

Norm = Literal["l1", "l2"]
Unit = Literal["weight", "kernel", "row"]
"""What goes as one: a single weight, a convolution's kernel from one input to one output, all of an output."""


def magnitude_scores(weight: Tensor, norm: Norm = "l1", unit: Unit = "weight") -> Tensor:
    """Mean |w| or mean w² of what goes as one, spread over it: (out, in, …) -> same (Han et al., arXiv:1506.02626).

    Of single weights both rank alike; of rows and kernels l2 asks for their largest weights, l1 for all of them.
    """
    size = weight.detach().float().abs()
    scores = size if norm == "l1" else size.square()
    over = {"weight": [], "kernel": [*range(2, weight.dim())], "row": [*range(1, weight.dim())]}[unit]
    return scores.mean(over, keepdim=True).expand_as(scores) if over else scores


def wanda_scores(weight: Tensor, input_norm: Tensor) -> Tensor:
    """|w| times the l2 norm of the input it multiplies: (out, in), (in,) -> (out, in). arXiv:2306.11695, eq. 1."""
    return weight.detach().float().abs() * input_norm


def gone(count: int, share: float) -> int:
    """How many of so many go, rounded as torch.nn.utils.prune rounds."""
    if not 0 <= share <= 1:
        raise ValueError(f"a share of {share} is not between 0 and 1")
    return round(share * count)


def keep_largest(scores: Tensor, share: float) -> Tensor:
    """Keep the largest scores of all: a boolean mask of their shape with `share` (0 to 1) of it false."""
    flat = scores.detach().flatten()
    lost = gone(flat.numel(), share)
    if lost in (0, flat.numel()):
        return torch.full(scores.shape, lost == 0, device=scores.device)
    edge = flat.kthvalue(lost + 1).values  # the smallest that stays; sorting a whole network would take minutes
    mask = flat > edge
    equal = (flat == edge).nonzero().flatten()
    mask[equal[: flat.numel() - lost - int(mask.sum())]] = True
    return mask.reshape(scores.shape)


def keep_largest_in_rows(scores: Tensor, share: float) -> Tensor:
    """Keep the largest of every row, the same number in each: (out, in) -> (out, in)."""
    kept = scores.shape[1] - gone(scores.shape[1], share)
    return _first_of_each(scores, kept)


def keep_n_of_m(scores: Tensor, n: int, m: int) -> Tensor:
    """Keep the n largest of every m consecutive scores of a row: (…, in) -> (…, in), m divides in."""
    if scores.shape[-1] % m:
        raise ValueError(f"{m} does not divide {scores.shape[-1]} inputs")
    return _first_of_each(scores.reshape(-1, m), n).reshape(scores.shape)


def keep_largest_units(scores: Tensor, share: float, unit: Unit) -> Tensor:
    """Keep the largest kernels or rows, whose scores are spread over them (`magnitude_scores`): any shape -> same."""
    within = {"weight": scores.dim(), "kernel": 2, "row": 1}[unit]
    heads = scores.reshape(*scores.shape[:within], -1)[..., 0]
    kept = keep_largest(heads, share)
    return kept.reshape(*kept.shape, *[1] * (scores.dim() - within)).expand_as(scores).contiguous()


def keep_largest_of_all(scores: Sequence[Tensor], share: float) -> list[Tensor]:
    """Keep the largest scores of several weights ranked as one: any shapes -> masks of the same shapes.

    Equal to `global_unstructured` of torch.nn.utils.prune with these scores as its `importance_scores`.
    """
    mask = keep_largest(torch.cat([one.flatten() for one in scores]), share)
    parts: Sequence[Tensor] = mask.split([one.numel() for one in scores])  # type: ignore[no-untyped-call]
    return [part.reshape(one.shape).clone() for part, one in zip(parts, scores, strict=True)]


def magnitude_mask(weight: Tensor, share: float) -> Tensor:
    """Keep the largest magnitudes: a boolean mask of the weight's shape with `share` (0 to 1) of it false."""
    return keep_largest(magnitude_scores(weight), share)


def cubic_share(share: float, turn: int, turns: int) -> float:
    """Share that is gone after `turn` of `turns`: s (1 − (1 − t/n)³), fast at first (arXiv:1710.01878, eq. 1)."""
    return share * (1 - (1 - turn / turns) ** 3)


def _first_of_each(scores: Tensor, kept: int) -> Tensor:
    """Mark the largest `kept` of every row of a matrix."""
    order = scores.detach().argsort(dim=1, descending=True, stable=True)[:, :kept]
    return torch.zeros(scores.shape, dtype=torch.bool, device=scores.device).scatter_(1, order, True)
