"""Which block of the teacher each block of the student learns from."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from penjing.errors import RecipeError
from penjing.models.family import Model
from penjing.models.tower import Tower

SURE = 0.7
"""A block that is so much like one of the teacher's (cosine of their weights) was that one."""


def layer_map(student: Model, teacher: Model) -> dict[str, tuple[int, ...]]:
    """For each tower of both, by the student's blocks, the teacher's block whose output it should give.

    A block gives what the next one was made for: where layers were dropped, what the teacher fed that one with. Blocks
    are known again by their weights; students that share none are spaced evenly. A student deeper than its teacher is a
    RecipeError.
    """
    theirs = {tower.name: tower for tower in teacher.towers if tower.blocks}
    found = {}
    for tower in (tower for tower in student.towers if tower.blocks and tower.name in theirs):
        other = theirs[tower.name]
        if len(tower.blocks) > len(other.blocks):
            raise RecipeError(
                f"tower {tower.name}: the student has {len(tower.blocks)} layers, its teacher {len(other.blocks)}",
                hint="take a deeper teacher, or give features: 0 and attention: 0",
            )
        found[tower.name] = _mapped(tower, other)
    return found


def _mapped(tower: Tower, other: Tower) -> tuple[int, ...]:
    count, teachers = len(tower.blocks), len(other.blocks)
    known = original_places(tower, other)
    if known is not None:
        return tuple(place - 1 for place in (*known[1:], teachers))
    return tuple(round((place + 1) * teachers / count) - 1 for place in range(count))


def original_places(tower: Tower, other: Tower) -> tuple[int, ...] | None:
    """Which block of the teacher each block of the student was; None where it is not sure, or not in order."""
    likeness = torch.stack([torch.stack([_likeness(one, two) for two in other.blocks]) for one in tower.blocks])
    best, places = likeness.max(1)
    inorder = bool((places[1:] > places[:-1]).all())
    return tuple(places.tolist()) if inorder and float(best.min()) >= SURE else None


def _likeness(one: nn.Module, other: nn.Module) -> Tensor:
    """Cosine of all matrices of two blocks that have the same name and shape; 0 where there are none."""
    mine, theirs = _matrices(one), _matrices(other)
    pairs = [
        (value, theirs[name]) for name, value in mine.items() if name in theirs and theirs[name].shape == value.shape
    ]
    if not pairs:
        return torch.zeros(())
    left, right = (torch.cat([pair[side].flatten() for pair in pairs]) for side in (0, 1))
    return torch.cosine_similarity(left, right, 0)


def _matrices(block: nn.Module) -> Mapping[str, Tensor]:
    """Weights by the names of their layers, of codes as well as of floats."""
    found = {}
    for name, module in block.named_modules():
        weight = getattr(module, "weight", None)
        if isinstance(weight, Tensor) and weight.dim() > 1:
            found[name] = weight.detach()
    return found
