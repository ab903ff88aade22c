"""Which matrices Muon moves: as many as it makes orthogonal for no more than learning their gradients takes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
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


def _uses(objective: nn.Module, answers: Answers, sample: Sequence[Batch], trained: Iterable[str]) -> dict[str, _Use]:
    """What goes through the layers that multiply by these weights.

    A weight that learns through its rounding lies in a module of its own, which is called without an input: what counts
    is the innermost module around it that is given one.
    """
    around = {name: _paths_around(name) for name in trained}
    uses = {path: _Use() for paths in around.values() for path in paths}

    def count(path: str, layer: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if inputs and isinstance(inputs[0], torch.Tensor) and isinstance(output, torch.Tensor):
            uses[path].calls += 1
            uses[path].rows += _rows(layer, inputs[0], output)

    with contextlib.ExitStack() as hooks:
        for path in uses:
            hooks.callback(objective.get_submodule(path).register_forward_hook(partial(count, path)).remove)
        answers.ask(sample)
    called = {name: [uses[path] for path in paths if uses[path].calls] for name, paths in around.items()}
    return {name: innermost[0] if innermost else _Use() for name, innermost in called.items()}


def _paths_around(name: str) -> list[str]:
    """Paths of the modules that hold a parameter, from the innermost outwards; the objective itself is none."""
    path, paths = name.rpartition(".")[0], list[str]()
    while path:
        paths.append(path)
        path = path.rpartition(".")[0]
    return paths


def _rows(layer: nn.Module, given: torch.Tensor, output: torch.Tensor) -> int:
    """Rows that are multiplied by a weight: of a convolution its positions; none of a table, which is looked up."""
    if not given.is_floating_point():
        return 0
    weight = getattr(layer, "weight", None)
    is_convolution = isinstance(weight, torch.Tensor) and weight.ndim > 2
    return output.numel() // output.shape[1 if is_convolution else -1]
