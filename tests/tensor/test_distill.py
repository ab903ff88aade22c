"""The losses of distillation against their formulas."""

from __future__ import annotations

import pytest
import torch

from penjing.tensor.distill import blended, soft_loss


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
