"""The running mean of parameters over the steps of training: it wanders less than they do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor


class Average:
    """m ← d·m + (1 − d)·p after every step (Polyak and Juditsky 1992); d is smaller at first, so that starts fade."""

    def __init__(self, parameters: Mapping[str, Tensor], decay: float) -> None:
        self._own, self._decay = parameters, decay
        self.values = {name: value.detach().clone() for name, value in parameters.items()}

    @torch.no_grad()
    def take_in(self, step: int) -> None:
        """Hear of the parameters after a step, counted from 1."""
        decay = min(self._decay, step / (step + 9))
        for name, value in self._own.items():
            self.values[name].lerp_(value, 1 - decay)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Let the parameters be their mean while this is open."""
        kept = {name: value.detach().clone() for name, value in self._own.items()}
        put(self._own, self.values)
        try:
            yield
        finally:
            put(self._own, kept)


@torch.no_grad()
def put(parameters: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> None:
    """Copy values into parameters."""
    for name, parameter in parameters.items():
        parameter.copy_(values[name])
