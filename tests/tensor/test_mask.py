"""Masks: exactly so many go, the smallest first; as torch.nn.utils.prune takes them; none better by brute force."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import prune

from penjing.tensor.mask import (
    cubic_share,
    keep_largest,
    keep_largest_in_rows,
    keep_largest_of_all,
    keep_largest_units,
    keep_n_of_m,
    magnitude_mask,
    magnitude_scores,
    wanda_scores,
)

SEEDS = st.integers(0, 2**32 - 1)
SIDES = st.integers(1, 12)
SHARES = st.floats(0, 1)


def drawn(seed: int, *shape: int, decimals: int = 1) -> torch.Tensor:
    """Normal numbers with many equal ones among them."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).round(decimals=decimals)


@given(SEEDS, SIDES, SIDES, SHARES)
def test_exactly_the_smallest_go(seed, rows, columns, share):
    weight = drawn(seed, rows, columns)
    mask = magnitude_mask(weight, share)
    assert mask.shape == weight.shape
    assert (~mask).sum() == round(share * weight.numel())
    if mask.any() and not mask.all():
        assert weight[mask].abs().min() >= weight[~mask].abs().max()


@given(SEEDS, SIDES, SIDES, SHARES, SHARES)
def test_of_two_shares_the_larger_takes_all_that_the_smaller_took(seed, rows, columns, one, other):
    weight = drawn(seed, rows, columns)
    less, more = (magnitude_mask(weight, share) for share in sorted((one, other)))
    assert not bool((more & ~less).any())


@given(SEEDS, SIDES, SIDES, SHARES)
def test_masking_again_changes_nothing(seed, rows, columns, share):
    weight = drawn(seed, rows, columns, decimals=3)
    mask = magnitude_mask(weight, share)
    assert torch.equal(weight * mask * magnitude_mask(weight * mask, share), weight * mask)


@given(SEEDS, SIDES, SIDES, SHARES)
def test_every_row_keeps_as_many(seed, rows, columns, share):
    scores = drawn(seed, rows, columns).abs()
    mask = keep_largest_in_rows(scores, share)
    assert mask.sum(1).tolist() == [columns - round(share * columns)] * rows
    for row in range(rows):
        assert torch.equal(mask[row], keep_largest(scores[row], share))


@given(SEEDS, SIDES, st.integers(1, 5), st.data())
def test_n_of_every_m_stay(seed, rows, groups, data):
    m = data.draw(st.integers(2, 8))
    n = data.draw(st.integers(1, m - 1))
    scores = drawn(seed, rows, groups * m).abs()
    mask = keep_n_of_m(scores, n, m)
    assert bool((mask.view(rows, groups, m).sum(-1) == n).all())
    for part, kept in zip(scores.view(-1, m), mask.view(-1, m), strict=True):
        assert torch.equal(kept, keep_largest(part, (m - n) / m))


@given(SEEDS, st.lists(st.tuples(SIDES, SIDES), min_size=1, max_size=4), SHARES)
def test_several_ranked_as_one(seed, shapes, share):
    weights = [drawn(seed + place, *shape) for place, shape in enumerate(shapes)]
    masks = keep_largest_of_all([magnitude_scores(weight) for weight in weights], share)
    flat = torch.cat([weight.flatten() for weight in weights])
    assert [mask.shape for mask in masks] == [weight.shape for weight in weights]
    assert torch.equal(torch.cat([mask.flatten() for mask in masks]), magnitude_mask(flat, share))


def test_equal_to_global_unstructured():
    torch.manual_seed(0)
    layers = [nn.Linear(7, 5), nn.Conv2d(3, 4, 3), nn.Linear(11, 2), nn.Conv1d(4, 4, 5, groups=2)]
    masks = keep_largest_of_all([magnitude_scores(layer.weight) for layer in layers], 0.37)
    wanted = [layer.weight.detach() * mask for layer, mask in zip(layers, masks, strict=True)]
    prune.global_unstructured([(layer, "weight") for layer in layers], prune.L1Unstructured, amount=0.37)
    for layer, want in zip(layers, wanted, strict=True):
        prune.remove(layer, "weight")
        assert torch.equal(layer.weight, want)


@pytest.mark.parametrize(("norm", "power"), [("l1", 1), ("l2", 2)])
def test_rows_equal_to_ln_structured(norm, power):
    torch.manual_seed(1)
    for layer in (nn.Linear(9, 10), nn.Conv2d(3, 10, 3)):
        weight = layer.weight.detach().clone()
        mask = keep_largest_units(magnitude_scores(weight, norm, "row"), 0.4, "row")
        prune.ln_structured(layer, "weight", amount=0.4, n=power, dim=0)
        assert torch.equal(layer.weight_mask.bool(), mask)


def test_kernels_go_whole_and_norms_differ():
    weight = torch.tensor([[[3.0, 0, 0], [1.5, 1.5, 1.5]]])  # one large weight, or three middling ones
    masks = {norm: keep_largest_units(magnitude_scores(weight, norm, "kernel"), 0.5, "kernel") for norm in ("l1", "l2")}
    assert masks["l1"].tolist() == [[[False] * 3, [True] * 3]]
    assert masks["l2"].tolist() == [[[True] * 3, [False] * 3]]


def test_wanda_takes_from_every_row_what_unrelated_inputs_miss_least():
    """Brute force over the six masks that keep two of four: ‖(W − W ⊙ m) X‖² with orthogonal inputs."""
    torch.manual_seed(2)
    weight = torch.randn(4, 4)
    inputs = torch.linalg.qr(torch.randn(20, 4)).Q * torch.tensor([0.1, 5, 1, 2])
    mask = keep_largest_in_rows(wanda_scores(weight, inputs.norm(dim=0)), 0.5)
    every = [torch.tensor([place in kept for place in range(4)]) for kept in itertools.combinations(range(4), 2)]
    for row, kept in zip(weight, mask, strict=True):
        lost = [float(((row * ~one) @ inputs.T).square().sum()) for one in every]
        assert torch.equal(kept, every[lost.index(min(lost))])
    assert not torch.equal(mask, keep_largest_in_rows(weight.abs(), 0.5))


def test_shares_of_rounds_grow_fast_at_first():
    shares = [cubic_share(0.8, turn, 4) for turn in range(5)]
    assert shares == pytest.approx([0, 0.4625, 0.7, 0.7875, 0.8])


def test_a_share_beyond_all():
    with pytest.raises(ValueError, match=r"1\.5"):
        magnitude_mask(torch.ones(2, 2), 1.5)


def test_a_pattern_that_does_not_divide():
    with pytest.raises(ValueError, match="4 does not divide 6"):
        keep_n_of_m(torch.ones(2, 6), 2, 4)


def test_of_equals_the_later_go():
    assert magnitude_mask(torch.ones(4), 0.5).tolist() == [True, True, False, False]
    assert keep_n_of_m(torch.ones(1, 4), 1, 2).tolist() == [[True, False, True, False]]
