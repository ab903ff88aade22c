"""Distillation: λL + (1 − λ)L_distill, what a small model learns from the labels and from a large one."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import kl_div, log_softmax


def soft_loss(student: Tensor, teacher: Tensor, temperature: float = 2.0) -> Tensor:
    """T² · KL(softmax(teacher / T) ‖ softmax(student / T)), mean over items (Hinton et al. 2015, arXiv:1503.02531).

    Logits (items, classes) each. T² keeps the size of gradients when the temperature changes (section 2).
    """
    wanted, said = (log_softmax(logits / temperature, -1) for logits in (teacher, student))
    return temperature**2 * kl_div(said, wanted, reduction="batchmean", log_target=True)


def blended(task: Tensor, distill: Tensor, task_share: float) -> Tensor:
    """λ · task + (1 − λ) · distill, with λ = `task_share` between 0 and 1."""
    if not 0 <= task_share <= 1:
        raise ValueError(f"a share of {task_share} is not between 0 and 1")
    return task_share * task + (1 - task_share) * distill
