"""Recurrent layers with integer weights: dequantized when they run, by PyTorch's own LSTM and GRU."""

from __future__ import annotations

import copy
from typing import Any, Self

import torch
from torch import Tensor, nn

from penjing.errors import ModelError
from penjing.layers.described import DescribedLayer, Description
from penjing.layers.weight_only import IntTable

Recurrent = nn.LSTM | nn.GRU


def weight_matrices(layer: Recurrent) -> dict[str, Tensor]:
    """The matrices of every layer and direction: `weight_ih_l0` (gates · hidden, in), `weight_hh_l0_reverse`, …"""
    return {name: matrix for name, matrix in layer.named_parameters() if name.startswith("weight_")}


class IntRecurrent(DescribedLayer):
    """An LSTM or GRU of any depth, in one direction or both, with one table of codes per matrix.

    It answers what the float layer does, (outputs, last states). There is no ONNX route: it goes to checkpoints.
    """

    def __init__(self, like: Recurrent, bits: int, group: int, symmetric: bool) -> None:
        super().__init__()
        self.bits, self.group, self.symmetric = bits, group, symmetric
        self.input_size, self.hidden_size, self.num_layers = like.input_size, like.hidden_size, like.num_layers
        self.batch_first, self.bidirectional = like.batch_first, like.bidirectional
        matrices = weight_matrices(like)
        shapes = {name: tuple(matrix.shape) for name, matrix in matrices.items()}
        self.tables: Any = nn.ModuleDict(
            {name: IntTable(rows, width, bits, group, symmetric) for name, (rows, width) in shapes.items()}
        )
        for name, value in like.named_parameters():
            if name not in matrices:
                self.register_parameter(name, nn.Parameter(value.detach().clone(), requires_grad=False))
        self._engine = copy.deepcopy(like)  # its settings and its forward; its weights are handed to it for every run
        self._engine._parameters.clear()
        self._engine._flat_weights = []

    def describe(self) -> dict[str, Any]:
        """Its grid; the rest is the original's."""
        return {"bits": self.bits, "group": self.group, "symmetric": self.symmetric}

    @classmethod
    def blank(cls, spec: Description, original: nn.Module | None) -> Self:
        """An empty layer like the original."""
        if not isinstance(original, Recurrent):
            raise TypeError(f"a recurrent layer cannot stand for {type(original).__name__}")
        return cls(original, spec["bits"], spec["group"], spec["symmetric"])

    @property
    def weight(self) -> Tensor:
        """All dequantized matrices, one after another: (weights,)."""
        return torch.cat([table.dense().flatten() for table in self.tables.values()])

    @property
    def size_bytes(self) -> int:
        """Bytes of codes, scales and zero points."""
        return sum(int(table.size_bytes) for table in self.tables.values())

    def flatten_parameters(self) -> None:
        """Do nothing: what a GPU would want of a float layer."""

    def forward(self, values: Any, states: Any = None) -> Any:
        """Run the layer on its dequantized weights: (items, steps, in) -> outputs and last states."""
        if torch.onnx.is_in_onnx_export():
            raise ModelError("recurrent layers of codes have no ONNX route", hint="give --format checkpoint")
        engine: Any = self._engine
        engine._flat_weights = [
            self.tables[name].dense() if name in self.tables else getattr(self, name)
            for name in engine._flat_weights_names
        ]
        return engine.train(self.training)(values, states)
