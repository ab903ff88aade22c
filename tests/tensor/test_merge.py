"""Token merging against plain loops over tokens, and what merging and giving back owe each other."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from penjing.tensor.merge import (
    Match,
    match_all,
    match_neighbours,
    merge,
    merge_down,
    pool,
    pool_sums,
    settled,
    take,
)

MATCHERS = {"all": match_all, "neighbours": match_neighbours}


def by_hand(values: torch.Tensor, sizes: torch.Tensor, moved: list[int], target: list[int]):
    """Merge one item's tokens one after the other, in double: the merged rows, their sizes, where each token went."""
    kept = [token for token in range(len(values)) if token not in moved]
    merged, total = [], []
    for token in kept:
        group = [token, *(source for source, into in zip(moved, target, strict=True) if into == token)]
        weight = sum(float(sizes[one]) for one in group)
        merged.append(sum(values[one].double() * float(sizes[one]) for one in group) / weight)
        total.append(weight)
    into = dict(zip(moved, target, strict=True))
    return torch.stack(merged), total, [kept.index(into.get(token, token)) for token in range(len(values))]


def best_pairs(metric: torch.Tensor, count: int, protected: int, neighbours: bool) -> list[tuple[int, int]]:
    """Of each second token the most similar of the others, and of those pairs the best."""
    pairs = []
    for token in range(protected, len(metric), 2):
        others = [token - 1, token + 1] if neighbours else range(protected + 1, len(metric), 2)
        found = [
            (float(torch.cosine_similarity(metric[token], metric[other], 0)), token, other)
            for other in others
            if protected <= other < len(metric)
        ]
        pairs += [max(found)] if found else []
    return sorted((token, other) for _, token, other in sorted(pairs)[len(pairs) - count :])


@pytest.mark.parametrize("kind", MATCHERS)
@pytest.mark.parametrize(("tokens", "count", "protected"), [(4, 1, 0), (8, 3, 0), (9, 3, 1), (10, 4, 2), (7, 2, 0)])
def test_matches_what_a_search_finds(kind, tokens, count, protected):
    metric = torch.randn(2, tokens, 5, generator=torch.Generator().manual_seed(tokens))
    match = MATCHERS[kind](metric, count, protected)
    for item in range(2):
        wanted = best_pairs(metric[item], count, protected, kind == "neighbours")
        kept = match.kept[item].tolist()
        found = zip(match.moved[item].tolist(), [kept[row] for row in match.into[item].tolist()], strict=True)
        assert sorted(found) == wanted


def test_four_tokens_by_hand():
    """Tokens 0 and 1 say the same, 2 and 3 do not: 0 goes into 1, which was two tokens already."""
    values = torch.tensor([[[3.0, 0.0], [6.0, 0.0], [0.0, 1.0], [-1.0, 0.2]]])
    match = match_all(values, 1)
    assert (match.moved.tolist(), match.kept.tolist(), match.into.tolist()) == ([[0]], [[1, 2, 3]], [[0]])
    assert match.rows.tolist() == [[0, 0, 1, 2]]
    merged, sizes = merge(values, torch.tensor([[1.0, 2.0, 1.0, 1.0]]), match)
    assert sizes.tolist() == [[3, 1, 1]]
    assert merged[0].flatten().tolist() == pytest.approx([5, 0, 0, 1, -1, 0.2])


def test_protected_tokens_neither_go_nor_take():
    metric = torch.ones(1, 6, 3)
    for protected in (1, 2):
        for matcher in MATCHERS.values():
            match = matcher(metric, 2, protected)
            assert match.kept[0, :protected].tolist() == [*range(protected)]
            assert min(match.into[0].tolist()) >= protected


@st.composite
def matches(draw) -> tuple[Match, torch.Tensor, torch.Tensor]:
    """Any way of merging: some tokens go, each into one that stays; values and sizes to go with it."""
    tokens = draw(st.integers(2, 12))
    moved = draw(st.lists(st.integers(0, tokens - 1), unique=True, max_size=tokens - 1))
    staying = [token for token in range(tokens) if token not in moved]
    target = [draw(st.sampled_from(staying)) for _ in moved]
    source = torch.Generator().manual_seed(draw(st.integers(0, 99)))
    sizes = torch.randint(1, 5, (1, tokens), generator=source).float()
    row = torch.tensor([moved], dtype=torch.int64), torch.tensor([target], dtype=torch.int64)
    return settled(*row, tokens), torch.randn(1, tokens, 3, generator=source), sizes


@settings(max_examples=60, deadline=None)
@given(matches())
def test_merging_is_a_mean_weighted_by_sizes(case):
    match, values, sizes = case
    merged, total = merge(values, sizes, match)
    kept = match.kept[0].tolist()
    target = [kept[row] for row in match.into[0].tolist()]
    wanted, weights, rows = by_hand(values[0], sizes[0], match.moved[0].tolist(), target)
    assert torch.allclose(merged[0].double(), wanted, atol=1e-5)
    assert total[0].tolist() == pytest.approx(weights)
    assert match.rows[0].tolist() == rows


@settings(max_examples=60, deadline=None)
@given(matches())
def test_what_is_given_back_keeps_mean_and_size(case):
    """A plain mean over copies is the mean weighted by sizes, and merging copies again gives what was merged."""
    match, values, sizes = case
    ones = torch.ones_like(sizes)
    merged, total = merge(values, ones, match)
    copies = take(merged, match.rows)
    assert float(total.sum()) == pytest.approx(values.shape[1])
    assert torch.allclose(copies.mean(1), values.mean(1), atol=1e-5)
    assert torch.allclose(merge(copies, ones, match)[0], merged, atol=1e-5)
    assert torch.equal(take(copies, match.kept), merged)


@settings(max_examples=30, deadline=None)
@given(matches())
def test_attention_to_copies_is_attention_by_size(case):
    """Equation 1 of the paper: m copies of a key weigh as much as the key with log m on its score."""
    match, keys, sizes = case
    merged, total = merge(keys, torch.ones_like(sizes), match)
    query = keys[:, :1]
    to_copies = take(merged, match.rows)
    wanted = torch.softmax(query @ to_copies.transpose(1, 2), -1) @ to_copies
    found = torch.softmax(query @ merged.transpose(1, 2) + total.log()[:, None], -1) @ merged
    assert torch.allclose(found, wanted, atol=1e-5)


@pytest.mark.parametrize("matcher", MATCHERS.values())
def test_no_merge_is_the_identity(matcher):
    values, sizes = torch.randn(2, 7, 4), torch.ones(2, 7)
    match = matcher(values, 0, 1)
    merged, total = merge(values, sizes, match)
    assert torch.equal(merged, values)
    assert torch.equal(total, sizes)
    assert torch.equal(take(merged, match.rows), values)


@pytest.mark.parametrize("kind", MATCHERS)
@settings(max_examples=40, deadline=None)
@given(tokens=st.integers(2, 20), share=st.floats(0.05, 1.0), seed=st.integers(0, 99))
def test_merging_down_leaves_means_of_a_partition_in_order(kind, tokens, share, seed):
    """One-hot tokens tell who is in which mean: everyone once, by the same weight, and those alone before as after."""
    keep = max(1, round(share * tokens))
    metric = torch.randn(2, tokens, 4, generator=torch.Generator().manual_seed(seed))
    marked = torch.cat([metric, 1e-4 * torch.eye(tokens).expand(2, -1, -1)], -1)
    left = merge_down(marked, keep, MATCHERS[kind])
    assert left.shape == (2, keep, 4 + tokens)
    parts = left[:, :, 4:] / 1e-4
    sizes = 1 / parts.amax(-1)
    assert (parts * sizes[:, :, None]).round().sum(1).eq(1).all(), "every token is in exactly one of them"
    assert sizes.sum(1).tolist() == pytest.approx([tokens, tokens], rel=1e-3)
    assert left[:, :, :4] == pytest.approx(parts @ metric, abs=1e-3)


def test_merging_down_to_one_is_the_mean_and_to_all_is_nothing():
    values = torch.randn(2, 7, 3, generator=torch.Generator().manual_seed(0))
    assert merge_down(values, 1, match_all)[:, 0] == pytest.approx(values.mean(1), abs=1e-6)
    assert torch.equal(merge_down(values, 7, match_all), values)


def test_copies_merge_first():
    """Of four tokens, two of them twice, two are left: each the very token, in the order of the first half."""
    one, other = torch.tensor([1.0, 0.0, 2.0]), torch.tensor([0.0, 3.0, -1.0])
    values = torch.stack([one, one, other, other])[None]
    assert merge_down(values, 2, match_all)[0] == pytest.approx(torch.stack([one, other]))


def test_rounds_of_a_quarter_lose_less_than_rounds_of_half():
    """24 tokens around 6 directions in any order, down to 6: what lies between a token and the nearest that is left."""
    lost = {"quarter": 0.0, "half": 0.0}
    for seed in range(20):
        dice = torch.Generator().manual_seed(seed)
        centres = torch.randn(6, 16, generator=dice)[torch.randperm(24, generator=dice) % 6]
        values = (centres + 0.1 * torch.randn(24, 16, generator=dice))[None]
        halved, sizes = values, torch.ones(1, 24)
        for count in (12, 6):
            halved, sizes = merge(halved, sizes, match_all(halved, count))
        lost["half"] += float(torch.cdist(values, halved).amin(-1).sum())
        lost["quarter"] += float(torch.cdist(values, merge_down(values, 6, match_all)).amin(-1).sum())
    assert lost["quarter"] < 0.7 * lost["half"]


@settings(deadline=None)
@given(tokens=st.integers(1, 12), width=st.integers(1, 5), weighted=st.booleans())
def test_pooling_is_a_mean_of_what_there_is(tokens, width, weighted):
    """Group by group in double, the last of fewer; sizes are weights, and their sums what each mean stands for."""
    torch.manual_seed(tokens * width)
    values, sizes = torch.randn(2, tokens, 3), torch.randint(1, 5, (2, tokens)).float()
    found = pool(values, width, sizes if weighted else None)
    weights = (sizes if weighted else torch.ones_like(sizes)).double()[:, :, None]
    groups = [slice(first, first + width) for first in range(0, tokens, width)]
    wanted = [(values[:, one].double() * weights[:, one]).sum(1) / weights[:, one].sum(1) for one in groups]
    assert torch.allclose(found.double(), torch.stack(wanted, 1), atol=1e-5)
    assert pool_sums(sizes[:, :, None], width).sum() == sizes.sum()
