"""Modality balance: how much a task feels tokens of each modality, measured, and statistics weighted by it.

Where pictures, texts and sounds share a tower, a modality of many tokens rules its statistics, whether or not the task
depends on it. MBQ (CVPR 2025, arXiv:2412.19509, section 3.2) weighs each modality's error by the mean gradient of the
loss with respect to its tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from penjing.models.tower import Batch, Tower

MOST_FELT = 32
"""Items on which gradients are taken."""

Weigh = Callable[[Batch], Tensor]
"""Gives the weight of each token of a batch, (tokens,)."""


def modality_weights(tower: Tower, batches: Sequence[Batch]) -> dict[int, float] | None:
    """Modality -> weight, 1 on average over all tokens; None where the tower's tokens are of one kind."""
    origins = tower.origins
    if origins is None or tower.loss is None or not tower.blocks:
        return None
    felt: dict[int, float] = {}
    count: dict[int, int] = {}
    for batch in batches[:: max(1, len(batches) // MOST_FELT)][:MOST_FELT]:
        sizes, kinds = _gradient_sizes(tower, batch), origins(batch)
        for kind in sorted(set(kinds.tolist())):
            chosen = sizes[kinds == kind]
            felt[kind] = felt.get(kind, 0.0) + float(chosen.sum())
            count[kind] = count.get(kind, 0) + len(chosen)
    if len(felt) < 2 or not all(felt.values()):
        return None
    mean = sum(felt.values()) / sum(count.values())
    return {kind: felt[kind] / count[kind] / mean for kind in sorted(felt)}


def weighing(tower: Tower, weights: dict[int, float] | None) -> Weigh | None:
    """The weight of every token of a batch, by where it comes from."""
    origins = tower.origins
    if origins is None or weights is None:
        return None
    known = dict(weights)
    return lambda batch: torch.tensor([known.get(kind, 1.0) for kind in origins(batch).tolist()])


def _gradient_sizes(tower: Tower, batch: Batch) -> Tensor:
    """Mean |∂ loss / ∂ x| of every token x that the first block reads, (tokens,)."""
    assert tower.loss is not None
    seen: list[Tensor] = []

    def follow(module: Any, args: Any, kwargs: Any) -> Any:
        hidden = args[0].detach().requires_grad_()
        seen.append(hidden)
        return (hidden, *args[1:]), kwargs

    hook = tower.blocks[0].register_forward_pre_hook(follow, with_kwargs=True)
    try:
        with torch.enable_grad():
            loss = tower.loss(batch)
            (gradient,) = torch.autograd.grad(loss, seen)
    finally:
        hook.remove()
    sizes: Tensor = gradient[0].abs().mean(-1)
    return sizes
