"""The losses of distillation against their formulas."""

from __future__ import annotations

import pytest
import torch

from penjing.tensor.distill import (
    affinity_loss,
    attention_transfer,
    best_of,
    blended,
    feature_loss,
    relational_loss,
    soft_loss,
    soft_loss_of_best,
    weighted,
)


def logits(seed: int) -> torch.Tensor:
    return 3 * torch.randn(6, 5, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_soft_loss_is_the_divergence_from_the_teacher(temperature):
    student, teacher = logits(0), logits(1)
    p, q = (torch.softmax(part / temperature, -1) for part in (teacher, student))
    wanted = temperature**2 * (p * (p / q).log()).sum(-1).mean()
    assert soft_loss(student, teacher, temperature).item() == pytest.approx(wanted.item(), rel=1e-4)
    assert soft_loss(teacher, teacher, temperature).item() == pytest.approx(0, abs=1e-6)


def test_the_size_of_gradients_hardly_depends_on_the_temperature():
    sizes = []
    for temperature in (8.0, 32.0):
        student = logits(0).requires_grad_()
        soft_loss(student, logits(1), temperature).backward()
        sizes.append(student.grad.norm().item())
    assert sizes[0] == pytest.approx(sizes[1], rel=0.2)


def test_blended_shares():
    one, other = torch.tensor(2.0), torch.tensor(6.0)
    assert [blended(one, other, share).item() for share in (0.0, 0.25, 1.0)] == [6.0, 5.0, 2.0]
    with pytest.raises(ValueError, match=r"-0\.1"):
        blended(one, other, -0.1)


def test_soft_loss_of_the_best_is_the_whole_where_all_are_kept():
    student, teacher = logits(0), logits(1)
    best = best_of(teacher, 4, 2.0)  # of 5 classes: the last one is the rest
    found = soft_loss_of_best(student, *best, 2.0)
    assert found.item() == pytest.approx(soft_loss(student, teacher, 2.0).item(), rel=1e-4)
    assert soft_loss_of_best(teacher, *best, 2.0).item() == pytest.approx(0, abs=1e-5)


def test_soft_loss_of_the_best_takes_all_others_as_one():
    student, teacher = torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([[2.0, 0.0, -1.0]])
    found = soft_loss_of_best(student, *best_of(teacher, 1, 1.0), 1.0)
    p, q = (part.softmax(-1)[0, 0] for part in (teacher, student))
    wanted = p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()
    assert found.item() == pytest.approx(wanted.item(), rel=1e-5)


def test_feature_loss_by_hand():
    student, teacher = torch.tensor([[1.0, 2.0], [0.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 3.0]])
    assert feature_loss(student, teacher).item() == pytest.approx((4 + 9) / 10)
    assert feature_loss(teacher, teacher).item() == 0


def test_attention_transfer_by_hand_and_between_widths():
    student = torch.tensor([[3.0], [0.0]])  # energies 9, 0: the first token alone
    teacher = torch.tensor([[0.0, 1.0], [1.0, 0.0]])  # energies 1, 1
    half = 0.5**0.5
    assert attention_transfer(student, teacher).item() == pytest.approx((1 - half) ** 2 + half**2, rel=1e-5)
    assert attention_transfer(2 * teacher, teacher).item() == pytest.approx(0, abs=1e-10)


def test_affinity_by_hand():
    """Two pictures and two texts: the teacher tells them apart, the student does not."""
    eye, same = torch.eye(2), torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    p = torch.softmax(torch.tensor([2.0, 0.0]), 0)
    wanted = (p * (p / 0.5).log()).sum()
    assert affinity_loss((same, same), (eye, eye), 2.0).item() == pytest.approx(wanted.item(), rel=1e-5)
    assert affinity_loss((eye, eye), (eye, eye), 2.0).item() == pytest.approx(0, abs=1e-7)


def test_affinity_and_relations_take_students_of_another_width():
    wide = torch.nn.functional.normalize(logits(3), dim=-1)
    padded = torch.nn.functional.pad(wide, (0, 3))
    assert affinity_loss((wide, wide), (padded, padded), 20.0).item() == pytest.approx(0, abs=1e-5)
    assert relational_loss(wide, padded, 20.0).item() == pytest.approx(0, abs=1e-5)


def test_relations_by_hand():
    """Three items; nobody is compared with itself."""
    teacher = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    student = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    near, even = torch.softmax(torch.tensor([1.0, 0.0]), 0), torch.tensor([0.5, 0.5])
    # rows: 0 is near 1 (teacher), near none (student); 1 is near 0, and near 2; 2 is near none, and near 1
    divergence = [(near, even), (near, near.flip(0)), (even, near)]
    wanted = sum(float((p * (p / q).log()).sum()) for p, q in divergence) / 3
    assert relational_loss(student, teacher, 1.0).item() == pytest.approx(wanted, rel=1e-5)


def test_weighted_sums_what_there_is():
    losses = {"logits": torch.tensor(2.0), "features": torch.tensor(3.0)}
    assert weighted(losses, {"logits": 0.5, "features": 2.0, "affinity": 9.0}).item() == 7.0
    assert weighted({}, {}).item() == 0.0
