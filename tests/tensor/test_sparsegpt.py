"""SparseGPT against the plain algorithm in float64 and against every mask there is; GPTQ under a mask."""

from __future__ import annotations

import itertools

import pytest
import torch

from penjing.tensor.brain import gptq, inverse_root, output_error, sweep
from penjing.tensor.mask import keep_largest, keep_largest_in_rows, keep_n_of_m, wanda_scores
from penjing.tensor.sparsegpt import sparsegpt


def case(out: int, width: int, alone: float = 0.3, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights, and the Gram matrix of inputs that are related to each other, more so the less each is `alone`."""
    source = torch.Generator().manual_seed(seed)
    mixing = torch.randn(width // 4 or 1, width, generator=source)
    inputs = torch.randn(200, width // 4 or 1, generator=source) @ mixing / width**0.5
    inputs = inputs + alone * torch.randn(200, width, generator=source)
    return torch.randn(out, width, generator=source), inputs.T @ inputs


def damped(gram: torch.Tensor) -> torch.Tensor:
    return gram.double() + 0.01 * gram.diagonal().double().mean() * torch.eye(len(gram), dtype=torch.float64)


def settled(weight: torch.Tensor, gram: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Weights under a given mask, column after column, the inverse recomputed for what is left."""
    hessian, rest = damped(gram), weight.double().clone()
    for column in range(weight.shape[1]):
        left = list(range(column, weight.shape[1]))
        inverse = torch.linalg.inv(hessian[left][:, left])
        lost = torch.where(mask[:, column], 0, rest[:, column]) / inverse[0, 0]
        rest[:, left] -= lost[:, None] * inverse[0][None, :]
    return (rest * mask).float()


def sparsegpt_by_hand(weight: torch.Tensor, gram: torch.Tensor, block: int, choose) -> torch.Tensor:
    """The mask of algorithm 1: chosen at the start of every block by w² / [(H of what is left)⁻¹]_cc."""
    mask = torch.ones_like(weight, dtype=torch.bool)
    hessian = damped(gram)
    for start in range(0, weight.shape[1], block):
        stop = min(start + block, weight.shape[1])
        now = moved(weight.double(), hessian, mask, start)
        saliency = [
            now[:, column].square() / torch.linalg.inv(hessian[column:, column:])[0, 0] for column in range(start, stop)
        ]
        mask[:, start:stop] = choose(torch.stack(saliency, 1).float())
    return mask


def moved(weight: torch.Tensor, hessian: torch.Tensor, mask: torch.Tensor, until: int) -> torch.Tensor:
    """Weights after the columns before `until` were settled."""
    rest = weight.clone()
    for column in range(until):
        inverse = torch.linalg.inv(hessian[column:, column:])
        lost = torch.where(mask[:, column], 0, rest[:, column]) / inverse[0, 0]
        rest[:, column:] -= lost[:, None] * inverse[0][None, :]
    return rest


@pytest.mark.parametrize("width", [24, 150])
def test_equals_the_plain_algorithm_in_float64(width):
    weight, gram = case(5, width)
    found, mask = sparsegpt(weight, gram, 0.01, 0.5)
    assert torch.equal(mask, sparsegpt_by_hand(weight, gram, 128, lambda scores: keep_largest(scores, 0.5)))
    assert torch.allclose(found, settled(weight, gram, mask), atol=1e-4)
    assert torch.equal(found != 0, mask)


def test_a_pattern_is_chosen_group_by_group():
    weight, gram = case(6, 36)
    found, mask = sparsegpt(weight, gram, 0.01, 0.5, (2, 4))
    assert torch.equal(mask, sparsegpt_by_hand(weight, gram, 4, lambda scores: keep_n_of_m(scores, 2, 4)))
    assert torch.allclose(found, settled(weight, gram, mask), atol=1e-4)
    assert bool((mask.view(6, -1, 4).sum(-1) == 2).all())


def test_patterns_that_do_not_divide_a_block():
    weight, gram = case(3, 3 * 5 * 20)
    _, mask = sparsegpt(weight, gram, 0.01, 0.5, (2, 3))
    assert bool((mask.view(3, -1, 3).sum(-1) == 2).all())


def test_the_best_of_all_masks_is_hardly_better():
    """Brute force on 4 × 4: every mask that keeps two of a row, its weights settled the same way."""
    every = [torch.tensor([place in kept for place in range(4)]) for kept in itertools.combinations(range(4), 2)]
    found, best = [], []
    for seed in range(20):
        weight, gram = case(4, 4, seed=seed)
        ours, _ = sparsegpt(weight, gram, 0.01, 0.5, (2, 4))
        for row, values in zip(weight[:, None], ours[:, None], strict=True):
            errors = [output_error(row, settled(row, gram, one[None]), gram) for one in every]
            found.append(output_error(row, values, gram))
            best.append(min(errors))
            assert min(errors) - 1e-5 <= found[-1] <= max(errors) + 1e-5
    assert sum(found) < 1.3 * sum(best)


def test_outputs_lose_less_than_under_wanda():
    for seed in range(4):
        weight, gram = case(32, 96, seed=seed)
        ours, _ = sparsegpt(weight, gram, 0.01, 0.5)
        wanda = weight * keep_largest_in_rows(wanda_scores(weight, gram.diagonal().sqrt()), 0.5)
        assert output_error(weight, ours, gram) < 0.8 * output_error(weight, wanda, gram)


def test_what_an_earlier_mask_took_stays_gone():
    weight, gram = case(8, 32)
    _, first = sparsegpt(weight, gram, 0.01, 0.25)
    found, second = sparsegpt(weight * first, gram, 0.01, 0.5, mask=first)
    assert not bool((second & ~first).any())
    assert float(second.float().mean()) == pytest.approx(0.5)
    assert bool((found[~second] == 0).all())


@pytest.mark.parametrize(("bits", "group", "symmetric"), [(4, 8, True), (3, 0, False), (8, 0, True), (4, 16, False)])
def test_gptq_keeps_masked_weights_at_zero_and_makes_up_for_them(bits, group, symmetric):
    weight, gram = case(12, 48)
    mask = keep_largest(weight.abs(), 0.5)
    settings = {"damping": 0.01, "by_activation": True}
    found = gptq(weight, gram, (bits, group, symmetric), mask=mask, **settings).dequantize(48)
    assert bool((found[~mask] == 0).all())
    plain = gptq(weight * mask, gram, (bits, group, symmetric), **settings).dequantize(48) * mask
    assert output_error(weight, found, gram) < output_error(weight, plain, gram)


def test_columns_are_shown_with_what_is_behind_them():
    weight, gram = case(2, 10)
    seen = []

    def settle(place: int, ahead: torch.Tensor) -> torch.Tensor:
        seen.append((place, ahead.shape[1]))
        return ahead[:, 0]

    sweep(weight, inverse_root(gram, 0.01), settle, at_once=4)
    assert seen == [(0, 4), (1, 3), (2, 2), (3, 1), (4, 4), (5, 3), (6, 2), (7, 1), (8, 2), (9, 1)]
