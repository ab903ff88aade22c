"""The terms of the loss against what their formulas say, item by item."""

from __future__ import annotations

import math

import pytest
import torch

from penjing.seedling.losses import WEIGHTS, Objective, contrastive, total
from tiny_seedling import small_batches, small_model, small_schedule


def test_contrastive_is_clips_loss_where_all_differ():
    source = torch.Generator().manual_seed(0)
    first, second = (torch.nn.functional.normalize(torch.randn(5, 8, generator=source), dim=1) for _ in range(2))
    groups, scale = torch.arange(5), torch.tensor(7.0)
    scores = scale * first @ second.T
    wanted = sum(torch.nn.functional.cross_entropy(part, torch.arange(5)) for part in (scores, scores.T)) / 2
    assert contrastive(first, second, groups, groups, scale).item() == pytest.approx(wanted.item(), rel=1e-5)


def test_items_of_one_group_are_no_negatives_of_each_other():
    first = torch.eye(4)
    groups = torch.tensor([0, 0, 1, 2])
    found = contrastive(first, first, groups, groups, torch.tensor(3.0)).item()
    alone, pair = -math.log(math.exp(3) / (math.exp(3) + 3)), -math.log((math.exp(3) + 1) / (math.exp(3) + 3))
    assert found == pytest.approx((2 * alone + 2 * pair) / 4, rel=1e-5)


def test_items_without_a_partner_do_not_count():
    first, second = torch.eye(3), torch.eye(3)[:2]
    found = contrastive(first, second, torch.tensor([0, 1, 2]), torch.tensor([0, 1]), torch.tensor(2.0))
    there = -math.log(math.exp(2) / (math.exp(2) + 1))
    back = -math.log(math.exp(2) / (math.exp(2) + 2))
    assert found.item() == pytest.approx((there + back) / 2, rel=1e-5)


def test_every_term_is_weighted_and_teaches_every_part(speech):
    torch.manual_seed(0)
    objective = Objective(small_model().train())
    terms = objective(small_batches(speech, small_schedule(1))[0])
    assert set(terms) == set(WEIGHTS)
    assert all(math.isfinite(term.item()) and term.item() > 0 for term in terms.values())
    loss = total(terms)
    assert loss.item() == pytest.approx(sum(WEIGHTS[name] * term.item() for name, term in terms.items()), rel=1e-5)
    loss.backward()
    idle = [name for name, value in objective.named_parameters() if value.grad is None or not value.grad.any()]
    assert idle == []
