"""Components as functions in PyTorch, with the interface of an engine's graph: the reference all engines are held
to.
"""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import torch

from penjing.models.family import Component
from penjing.values import Array, Arrays


class TorchGraph:
    """A component run by PyTorch eager in float32."""

    def __init__(self, component: Component) -> None:
        self._module = component.module.eval()
        self.inputs = list(component.inputs)
        self.outputs = list(component.outputs)
        self._types = {name: tensor[:0].numpy().dtype for name, tensor in component.inputs.items()}
        self._fixed = len(inspect.signature(self._module.forward).parameters)

    def dtype(self, name: str) -> np.dtype[Any]:
        """What kind of numbers an input takes."""
        return self._types[name]

    @torch.no_grad()
    def __call__(self, arrays: Arrays) -> dict[str, Array]:
        """Run the module on the inputs it has; other arrays are ignored."""
        tensors = [torch.from_numpy(arrays[name]) for name in self.inputs]
        if self._fixed != len(tensors):  # the tail of several inputs is one list
            found = self._module(*tensors[: self._fixed - 1], tensors[self._fixed - 1 :])
        else:
            found = self._module(*tensors)
        found = found if isinstance(found, tuple) else (found,)
        return {name: tensor.numpy() for name, tensor in zip(self.outputs, found, strict=True)}
