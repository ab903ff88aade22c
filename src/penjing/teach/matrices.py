"""Which matrices Muon moves: those for which its step costs little beside learning their gradients."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from penjing.models.tower import Batch
from penjing.teach.answers import Answers
from penjing.train.muon import operations, relative_cost
from penjing.train.optimizer import is_layer_matrix

MOST_RELATIVE_COST = 1.0
"""Multiplications of Muon relative to those of learning the matrix: four to five rows of input for each of its rows.

For a layer of 4096 → 1024 neurons and 512 images a step, as in a textbook CNN, it would be 7.5.
"""
UNNOTICED_OPERATIONS = 24_000_000
"""What takes less than the calls it is made of, about a millisecond: matrices of up to 64 × 256 are free."""


@torch.no_grad()
def cheap_to_orthogonalize(
    objective: nn.Module, answers: Answers, sample: Sequence[Batch], batch: int
) -> tuple[str, ...]:
    """Names of the trained matrices of layers for which a step of Muon costs at most `MOST_RELATIVE_COST`, or nothing.

    Args:
        objective: the module whose parameters are trained.
        answers: what runs the model in it.
        sample: items by which the rows that go through every layer are counted, (rows, width) each.
        batch: items of a step, of all processes together: they have to choose alike, and as one alone would.
    """
    trained = {
        name: parameter
        for name, parameter in objective.named_parameters()
        if parameter.requires_grad and is_layer_matrix(name, parameter)
    }
    rows: dict[str, int] = {}

    def count(name: str, inputs: tuple[Any, ...]) -> None:
        if inputs and isinstance(inputs[0], torch.Tensor) and inputs[0].dim() > 0:
            rows[name] = rows.get(name, 0) + inputs[0].numel() // inputs[0].shape[-1]

    with contextlib.ExitStack() as hooks:
        for name in trained:
            module = objective.get_submodule(name.rpartition(".")[0])
            hook = module.register_forward_pre_hook(lambda layer, inputs, name=name: count(name, inputs))
            hooks.callback(hook.remove)
        answers.ask(sample)
    return tuple(
        name
        for name, matrix in trained.items()
        if rows.get(name) and _is_cheap((matrix.shape[0], matrix.shape[1]), rows[name] * batch / len(sample))
    )


def _is_cheap(shape: tuple[int, int], tokens: float) -> bool:
    """Whether a step of Muon is hardly noticed for a matrix that so many rows go through."""
    return operations(shape) <= UNNOTICED_OPERATIONS or relative_cost(shape, tokens) <= MOST_RELATIVE_COST
