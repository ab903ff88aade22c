"""How much a unit of channels matters, and what the ones that stay can take over from those that go.

A layer reads channels x (in,) by y = W x + b, W (out, in). `units` (in,) numbers the unit of each channel.
"""

from __future__ import annotations

import torch
from torch import Tensor

DAMPING = 1e-4
"""Share of the mean energy added to every channel's, so that the normal equations can be solved."""

RIDGE = 1e-2
"""The same for weights that are fitted to what another network gave."""


def by_unit(values: Tensor, units: Tensor, count: int) -> Tensor:
    """Sum values of channels over their units: (channels,) -> (count,). A unit of -1 counts nowhere."""
    there = units >= 0
    return torch.zeros(count).index_add_(0, units[there], values[there].float())


def squared_norms(weight: Tensor, axis: int = 0) -> Tensor:
    """Squared L2 norm of each slice of a weight along an axis (Li et al. 2017, arXiv:1608.08710): -> (slices,)."""
    return weight.detach().float().movedim(axis, 0).flatten(1).square().sum(1)


def output_energy(weight: Tensor, energy: Tensor) -> Tensor:
    """What each channel adds to ‖W X‖² alone: energy Σ x² (in,) times ‖W[:, j]‖² (FLAP, arXiv:2312.11983, eq. 5)."""
    return energy.clamp_min(0) * squared_norms(weight, 1)


def refit(
    weight: Tensor, bias: Tensor | None, gram: Tensor, total: Tensor, tokens: int, stays: Tensor
) -> tuple[Tensor, Tensor | None]:
    """Weights (out, kept) and bias (out,) of least ‖W X + b − (W' X[stays] + b')‖² over the tokens seen.

    gram is Σ x xᵀ (in, in), total Σ x (in,), stays bool (in,). The normal equations over the channels that stay, and a
    constant one where there is a bias (optimal brain surgery of several weights at once, Hassibi & Stork 1993).
    """
    gram, weight = gram.double(), weight.detach().double()
    if bias is None:
        whole, seen = weight, gram
    else:
        whole = torch.cat([weight, bias.detach().double()[:, None]], 1)
        sums = total.double()[:, None]
        seen = torch.cat([torch.cat([gram, sums], 1), torch.cat([sums.T, torch.full((1, 1), float(tokens))], 1)])
        stays = torch.cat([stays, torch.ones(1, dtype=torch.bool)])
    square = seen[stays][:, stays]
    level = DAMPING * float(square.diagonal().mean())
    square = square + torch.diag(torch.full((len(square),), max(level, 1e-12)).double())
    # The damping pulls towards the weights as they are and not towards zero: nothing moves that need not.
    missing = whole[:, ~stays] @ seen[~stays][:, stays]
    moved = whole[:, stays] + torch.linalg.solve(square, missing.T).T
    if bias is None:
        return moved.float(), None
    return moved[:, :-1].float(), moved[:, -1].float()


def refit_to(weight: Tensor, bias: Tensor | None, seen: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor | None]:
    """Weights (out, in) and bias (out,) of least ‖seen Wᵀ + b − wanted‖², seen (tokens, in), wanted (tokens, out).

    Ridge regression towards the weights as they are: few tokens move them little.
    """
    seen, missing = seen.double(), wanted.double() - seen.double() @ weight.detach().double().T
    if bias is not None:
        seen = torch.cat([seen, torch.ones(len(seen), 1).double()], 1)
        missing = missing - bias.detach().double()
    square = seen.T @ seen
    level = max(RIDGE * float(square.diagonal().mean()), 1e-12)
    square = square + torch.diag(torch.full((len(square),), level).double())
    moved = torch.linalg.solve(square, seen.T @ missing).T.float()
    if bias is None:
        return weight.detach() + moved, None
    return weight.detach() + moved[:, :-1], bias.detach() + moved[:, -1]


def most(scores: Tensor, kept: int) -> Tensor:
    """Keep so many of the largest scores, of equal ones the first: (units,) -> bool (units,)."""
    keep = torch.zeros(len(scores), dtype=torch.bool)
    keep[scores.argsort(descending=True, stable=True)[:kept]] = True
    return keep
