"""Which matrices Muon moves: as many as it makes orthogonal for no more than learning their gradients takes."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from penjing.models.tower import Batch
from penjing.teach.answers import Answers
from penjing.train.muon import operations
from penjing.train.optimizer import is_layer_matrix

MOST_RELATIVE_COST = 1.0
"""Operations of Muon in a step, relative to those of learning all gradients.

A layer of 4096 → 1024 neurons and 512 images a step, as in a textbook CNN, would take 3 times as many alone.
"""
FREE_OPERATIONS = 1_000_000_000
"""What Muon may take in any case: it is over in some hundredths of a second at most."""
CALL_OPERATIONS, STEP_OPERATIONS = 8_000_000, 8_000_000
"""What is computed in the time that a layer takes to be called and learned from whatever its size (0.2 ms), and that
Muon takes to begin its products: of small layers, most of the time goes there."""


@dataclass(slots=True)
class _Use:
    """How often a layer was called, and how many rows (of a convolution: positions) went through it."""

    calls: int = 0
    rows: int = 0


@torch.no_grad()
def cheap_to_orthogonalize(
    objective: nn.Module, answers: Answers, sample: Sequence[Batch], batch: int
) -> tuple[str, ...]:
    """Names of the trained matrices of layers that Muon moves: all of them, or those for which it pays best.

    Together they take at most `MOST_RELATIVE_COST` of what learning from a step takes, and `FREE_OPERATIONS`. Counted,
    not timed: the same course chooses alike whenever and wherever it runs.

    Args:
        objective: the module whose parameters are trained.
        answers: what runs the model in it.
        sample: items by which calls and rows of every layer are counted.
        batch: items of a step, of all processes together: they have to choose alike, and as one alone would.
    """
    trained = {name: value for name, value in objective.named_parameters() if value.requires_grad and value.ndim >= 2}
    used = _uses(objective, answers, sample, trained)
    steps = batch / len(sample)
    learning = {
        name: (6 * trained[name].numel() * use.rows + CALL_OPERATIONS * use.calls) * steps
        for name, use in used.items()
        if use.calls
    }
    costs = {
        name: operations((trained[name].shape[0], trained[name].shape[1])) + STEP_OPERATIONS
        for name in learning
        if is_layer_matrix(name, trained[name])
    }
    room, chosen = FREE_OPERATIONS + MOST_RELATIVE_COST * sum(learning.values()), set[str]()
    for name in sorted(costs, key=lambda name: (costs[name] / learning[name], name)):
        if costs[name] <= room:
            room -= costs[name]
            chosen.add(name)
    return tuple(name for name in trained if name in chosen)


def _uses(
    objective: nn.Module, answers: Answers, sample: Sequence[Batch], trained: Mapping[str, nn.Parameter]
) -> dict[str, _Use]:
    """What goes through the layers that hold these weights; tables are looked up, not multiplied by."""
    uses = {name: _Use() for name in trained}

    def count(name: str, layer: nn.Module, output: Any) -> None:
        if isinstance(output, torch.Tensor):
            uses[name].calls += 1
            uses[name].rows += 0 if isinstance(layer, nn.Embedding) else output.numel() // trained[name].shape[0]

    with contextlib.ExitStack() as hooks:
        for name in trained:
            module = objective.get_submodule(name.rpartition(".")[0])
            hook = module.register_forward_hook(lambda layer, inputs, output, name=name: count(name, layer, output))
            hooks.callback(hook.remove)
        answers.ask(sample)
    return uses
