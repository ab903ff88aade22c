"""Where ONNX Runtime may round activations beside integer weights: decided layer by layer, by what it costs there.

`MatMulNBits` at accuracy level 4 rounds its input to int8, with one step per block of weights, and multiplies integers.
At level 0 the input stays float, but all weights are dequantized at every call, which takes many times as long. So a
layer keeps level 4 unless the rounding alone moves its output by more than a limit. OpenVINO reads no such level.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

import torch
from torch import Tensor, nn

from penjing.data.row import Row
from penjing.layers.lower import FLOAT_ACTIVATIONS, INT8_ACTIVATIONS
from penjing.layers.weight_only import IntLinear
from penjing.models.capture import call
from penjing.models.family import Model
from penjing.models.tower import Batch
from penjing.tensor.grid import round_blocks
from penjing.values import Tell

MOST_ITEMS = 4
"""Items that errors are measured on; each has many tokens."""
MOST_ROWS = 64
"""Rows of an input of one item that are multiplied once more, evenly spread."""
LARGEST_ERROR = 0.05


class _Errors:
    """What rounding of its input does to the output of one layer, summed over calls."""

    def __init__(self) -> None:
        self.moved = self.whole = 0.0

    @property
    def relative(self) -> float:
        """‖(Q(x) - x) Ŵᵀ‖ / ‖x Ŵᵀ‖; 0 of a layer that nothing went through."""
        return float((self.moved / self.whole) ** 0.5) if self.whole else 0.0

    def add(self, layer: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
        """Take in one call, as a forward hook. The float weights are forgotten again."""
        assert isinstance(layer, IntLinear)
        rows, answers = given[0].flatten(0, -2), output.flatten(0, -2)
        places = torch.linspace(0, len(rows) - 1, min(len(rows), MOST_ROWS)).long()
        rows, answers = rows[places], answers[places]
        products = answers if layer.bias is None else answers - layer.bias
        moved = (round_blocks(rows, layer.table.block) - rows) @ layer.weight.T
        self.moved += float(moved.square().sum())
        self.whole += float(products.square().sum())
        layer.table.release()


@torch.no_grad()
def rounding_errors(model: Model, batches: Sequence[Batch]) -> dict[str, float]:
    """Relative output error that int8 activations in blocks cause, of every layer of codes that the batches reach."""
    layers = {name: layer for name, layer in model.net.named_modules() if isinstance(layer, IntLinear)}
    errors = {name: _Errors() for name in layers}
    hooks = [layer.register_forward_hook(errors[name].add) for name, layer in layers.items()]
    try:
        for batch in batches:
            call(model.net, batch)
    finally:
        for hook in hooks:
            hook.remove()
    return {name: one.relative for name, one in errors.items() if one.whole}


def set_accuracy_levels(model: Model, rows: Sequence[Row], tell: Tell) -> list[str]:
    """Decide for every layer of codes whether its activations may be rounded; returns what a report should say.

    `rows` are the calibration rows of a run; without any, the family's probe is what goes through the layers.
    """
    layers = {name: layer for name, layer in model.net.named_modules() if isinstance(layer, IntLinear)}
    if not layers:
        return []
    tell("measure what rounded activations cost", 0, 0)
    errors = rounding_errors(model, list(islice(_inputs(model, rows), MOST_ITEMS)))
    floats = [name for name, error in errors.items() if error > LARGEST_ERROR]
    for name, layer in layers.items():
        layer.accuracy_level = FLOAT_ACTIVATIONS if name in floats else INT8_ACTIVATIONS
    if not floats:
        return []
    worst = max(floats, key=errors.__getitem__)
    more = f" and {len(floats) - 1} more" if len(floats) > 1 else ""
    return [
        f"{worst}{more}: float activations in ONNX Runtime, for int8 ones would move its output by {errors[worst]:.1%}"
    ]


def _inputs(model: Model, rows: Sequence[Row]) -> Iterator[Batch]:
    if rows:
        yield from model.family.batches(model.settings, model.folder, rows[:MOST_ITEMS])
    else:
        yield model.family.probe(model.net, 0)
