"""Merge tokens that say the same: soft matching in two halves (ToMe, arXiv:2210.09461), and the way back.

Tokens keep their order. What a token stands for is its size: how many tokens of the beginning were merged into it. All
shapes follow from the number of tokens and of merges alone, so all of it exports as a graph without branches.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

PARTS_OF_A_ROUND = 4
"""One of so many parts of the tokens merges in a round of several."""


class Match(NamedTuple):
    """Which of n tokens merge into which; r of them go."""

    kept: Tensor
    """Tokens that stay, in their order: (batch, n - r)."""
    moved: Tensor
    """Tokens that go: (batch, r)."""
    into: Tensor
    """Places, among those that stay, of what they merge into: (batch, r)."""
    rows: Tensor
    """Places, among those that stay, of all n tokens: (batch, n)."""


Matcher = Callable[[Tensor, int, int], Match]
"""Which `count` of the tokens (batch, n, width) merge into which, the first `protected` ones left alone."""


def match_all(metric: Tensor, count: int, protected: int = 0) -> Match:
    """Match each second token with the most similar of the others, and let the `count` best matches merge.

    metric (batch, n, width) is compared by its cosine; section 3 of the paper takes attention's keys. The first
    `protected` tokens (class, distillation) stay what they are.
    """
    alike = nn.functional.normalize(metric[:, protected:], dim=-1)
    best, nearest = (alike[:, ::2] @ alike[:, 1::2].transpose(1, 2)).max(-1)
    chosen = torch.topk(best, count).indices
    moved = 2 * chosen + protected
    return settled(moved, 2 * nearest.gather(1, chosen) + 1 + protected, metric.shape[1])


def match_neighbours(metric: Tensor, count: int, protected: int = 0) -> Match:
    """Match each second token with the more similar of the two beside it: for time, where like sounds follow another.

    Costs no product of all with all. metric (batch, n, width).
    """
    alike = nn.functional.normalize(metric[:, protected:], dim=-1)
    beside = (alike[:, :-1] * alike[:, 1:]).sum(-1)
    nothing = beside.new_full((metric.shape[0], 1), -torch.inf)
    before, after = torch.cat([nothing, beside], 1)[:, ::2], torch.cat([beside, nothing], 1)[:, ::2]
    chosen = torch.topk(torch.maximum(before, after), count).indices
    moved = 2 * chosen + protected
    step = torch.where(after >= before, 1, -1)
    return settled(moved, moved + step.gather(1, chosen), metric.shape[1])


def settled(moved: Tensor, target: Tensor, tokens: int) -> Match:
    """Number what stays. `moved` and `target` (batch, r) are places among all tokens; no target is moved itself."""
    stays = torch.ones(moved.shape[0], tokens, dtype=torch.int64, device=moved.device).scatter(1, moved, 0)
    place = stays.cumsum(1) - 1
    into = place.gather(1, target)
    countdown = torch.arange(tokens, 0, -1, device=moved.device)
    kept = torch.topk(stays * countdown, tokens - moved.shape[1]).indices
    return Match(kept, moved, into, place.scatter(1, moved, into))


def merge(values: Tensor, sizes: Tensor, match: Match) -> tuple[Tensor, Tensor]:
    """Means of what merges, weighted by size: values (batch, n, width), sizes (batch, n) -> the n - r, and their sizes.

    Whatever is moved is added by a product with a thin matrix (n - r, r): a scatter costs engines more.
    """
    kept, moved = sizes.gather(1, match.kept), sizes.gather(1, match.moved)
    places = torch.arange(match.kept.shape[1], device=values.device)
    parts = (match.into[:, None, :] == places[:, None]).to(values.dtype) * moved[:, None, :]
    total = kept + parts.sum(-1)
    stays = take(values, match.kept) * (kept / total)[:, :, None]
    return stays + (parts / total[:, :, None]) @ take(values, match.moved), total


def merge_down(values: Tensor, keep: int, match: Matcher) -> Tensor:
    """Merge in rounds until `keep` tokens are left: values (batch, n, width) -> (batch, keep, width), in their order.

    Tokens are compared by themselves, anew in each round, and each of those left is the mean of all that it stands for.
    A round could merge half of them, and would merge pairs that are alike only for want of better ones: of the
    seedling's 1,200 questions about pictures, 99.4% right with all 16 tokens, 89.0% were with 4 that way, 96.3% in
    rounds of a quarter, as many in rounds of one, and 92.1% with means over squares of the grid.
    """
    sizes = torch.ones_like(values[:, :, 0])
    while values.shape[1] > keep:
        tokens = values.shape[1]
        count = min(tokens - keep, max(1, tokens // PARTS_OF_A_ROUND))
        values, sizes = merge(values, sizes, match(values, count, 0))
    return values


def pool(values: Tensor, width: int, sizes: Tensor | None = None) -> Tensor:
    """Means of every `width` neighbours, weighted by size; the last may be of fewer.

    values (batch, n, features), sizes (batch, n), all alike if left away -> (batch, ⌈n / width⌉, features).
    """
    if sizes is None:
        sizes = torch.ones_like(values[:1, :, 0])
    else:
        values = values * sizes[:, :, None]
    return pool_sums(values, width) / pool_sums(sizes[:, :, None], width)


def pool_sums(values: Tensor, width: int) -> Tensor:
    """Sums of every `width` neighbours: (batch, n, features) -> (batch, ⌈n / width⌉, features).

    Where n does not fit, zeros are added; what is one too many is cut off, so that the graph has no branch.
    """
    batch, tokens, features = values.shape
    groups = (tokens + width - 1) // width
    longer = torch.cat([values, values.new_zeros(batch, width - 1, features)], 1)
    return longer[:, : groups * width].view(batch, groups, width, features).sum(2)


def take(values: Tensor, rows: Tensor) -> Tensor:
    """Whole rows of each item: values (batch, n, width), rows (batch, m) -> (batch, m, width). Undoes a merge by copies
    where `rows` are those of a `Match`.
    """
    batch, tokens, width = values.shape
    first = torch.arange(batch, device=rows.device)[:, None] * tokens
    return values.flatten(0, 1).index_select(0, (rows + first).flatten()).view(batch, rows.shape[1], width)
