"""Distillation: what a small model learns from the labels and from a large one, λ·task + (1 − λ)·Σ wᵢ·lossᵢ.

Every loss is a scalar, and zero where the student answers as the teacher does.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.functional import kl_div, log_softmax, normalize

SMALLEST = 1e-12


def soft_loss(student: Tensor, teacher: Tensor, temperature: float = 2.0) -> Tensor:
    """T² · KL(softmax(teacher / T) ‖ softmax(student / T)), mean over items (Hinton et al. 2015, arXiv:1503.02531).

    Logits (items, classes) each. T² keeps the size of gradients when the temperature changes (section 2).
    """
    wanted, said = (log_softmax(logits / temperature, -1) for logits in (teacher, student))
    return temperature**2 * kl_div(said, wanted, reduction="batchmean", log_target=True)


def soft_loss_of_best(student: Tensor, best: Tensor, places: Tensor, total: Tensor, temperature: float = 2.0) -> Tensor:
    """`soft_loss` where only the teacher's largest logits are known; all other classes count as one.

    student (items, classes), best (items, k) the logits at `places` (items, k), total (items,) the logarithm of the sum
    of exp(logit / T) over all classes.
    """
    wanted = best / temperature - total[:, None]
    said = log_softmax(student / temperature, -1).gather(-1, places)
    both = [torch.cat([logs, _rest(logs)], -1) for logs in (said, wanted)]
    return temperature**2 * kl_div(both[0], both[1], reduction="batchmean", log_target=True)


def _rest(logs: Tensor) -> Tensor:
    """Logarithm of what is left of 1: (items, k) -> (items, 1)."""
    return (1 - logs.exp().sum(-1, keepdim=True)).clamp_min(1e-7).log()


def best_of(logits: Tensor, count: int, temperature: float) -> tuple[Tensor, Tensor, Tensor]:
    """What `soft_loss_of_best` needs of a teacher's logits (items, classes): best, places, total."""
    best, places = logits.topk(count, -1)
    return best, places, (logits / temperature).logsumexp(-1)


def feature_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """‖student − teacher‖² / ‖teacher‖² of hidden states (..., width) (FitNets, arXiv:1412.6550, eq. 3, made relative).

    Where widths differ, the student's come through a projection that is learned with it.
    """
    return (student - teacher).square().sum() / teacher.square().sum().clamp_min(SMALLEST)


def attention_transfer(student: Tensor, teacher: Tensor) -> Tensor:
    """‖Q_S / ‖Q_S‖ − Q_T / ‖Q_T‖‖², Q the energy of each token: where a layer looks (arXiv:1612.03928, eq. 2, p = 2).

    Hidden states (tokens, width) each; the widths may differ.
    """
    student, teacher = (normalize(hidden.square().sum(-1), dim=-1) for hidden in (student, teacher))
    return (student - teacher).square().sum(-1).mean()


def affinity_loss(student: tuple[Tensor, Tensor], teacher: tuple[Tensor, Tensor], sharpness: float) -> Tensor:
    """How differently two modalities' items are related, both ways: affinity mimicking of TinyCLIP (arXiv:2309.12314,
    eq. 2), which is the contrastive relational distillation of CLIP-KD (arXiv:2307.12732, eq. 5).

    Pairs of unit embeddings (items, width); the student's width may be another. KL instead of the cross-entropy, which
    differs by the teacher's own entropy.
    """
    student_scores, teacher_scores = (sharpness * left @ right.T for left, right in (student, teacher))
    ways = [(student_scores, teacher_scores), (student_scores.T, teacher_scores.T)]
    return torch.stack([soft_loss(said, wanted, 1.0) for said, wanted in ways]).mean()


def relational_loss(student: Tensor, teacher: Tensor, sharpness: float) -> Tensor:
    """How differently the items of one modality are related to each other: relational distillation (arXiv:1904.05068)
    with the contrastive distribution of CLIP-KD (arXiv:2307.12732, eq. 5), each item against all but itself.

    Unit embeddings (items, width) each; the widths may differ.
    """
    others = ~torch.eye(len(student), dtype=torch.bool)
    said, wanted = ((sharpness * part @ part.T)[others].view(len(part), len(part) - 1) for part in (student, teacher))
    return soft_loss(said, wanted, 1.0)


def weighted(losses: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """Σ wᵢ·lossᵢ over the losses that there are."""
    return sum((weights[name] * loss for name, loss in losses.items()), torch.zeros(()))


def blended(task: Tensor, distill: Tensor, task_share: float) -> Tensor:
    """λ · task + (1 − λ) · distill, with λ = `task_share` between 0 and 1."""
    if not 0 <= task_share <= 1:
        raise ValueError(f"a share of {task_share} is not between 0 and 1")
    return task_share * task + (1 - task_share) * distill
