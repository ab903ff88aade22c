"""How ONNX Runtime rounds activations beside integer weights: decided layer by layer, by what it costs there.

`MatMulNBits` at accuracy level 4 rounds its input to int8, with one step per block of weights, and multiplies integers.
Where that moves a layer's output by more than a limit, its blocks become smaller, which changes no weight; where that
is not enough, the layer gets level 0, so that its input stays float. OpenVINO reads blocks, but no level.

Source of the limits: SmolLM2-135M-Instruct in 8 bits (`rtn`), 48 questions of 10 words of the source's own answer each,
as KL divergence from the source in nats, and milliseconds a word in ONNX Runtime on two busy cores. All at level 4 in
blocks of 64 and 128: 0.0111 and 43.5 ms; all in float: 0.0039 and 587 ms, the head alone in float 209 ms. Blocks of 32
beyond an error of 0.015 (126 layers): 0.0087 for 1.6% more bytes; beyond 0.01: 0.0075 for 5%; everywhere: 0.0067 and
40.1 ms. Float for the 23 layers beyond 0.02 alone: 0.0095 and 48.8 ms, for the 38 beyond 0.015: 0.0079 and 79.5 ms.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from penjing.data.row import Row
from penjing.data.split import Parts
from penjing.judge.footprint import trim_heap
from penjing.layers.lower import FLOAT_ACTIVATIONS, INT8_ACTIVATIONS
from penjing.layers.weight_only import IntLinear
from penjing.models.capture import call
from penjing.models.family import Model
from penjing.models.tower import Batch, Tower
from penjing.tensor.grid import round_blocks
from penjing.values import Tell

WHOLE = "causal-lm"
"""Task of networks that are run whole, so that a head behind the towers is reached, too."""
MOST_ITEMS = 4
"""Items that errors are measured on; each has many tokens."""
MOST_ROWS = 64
"""Rows of an input of one item that are multiplied once more, evenly spread."""
FINER_BEYOND = 0.015
"""Relative error of a layer's output beyond which its blocks become smaller."""
FINER_BLOCK = 32
"""What they become."""
FLOAT_BEYOND = 0.05
"""Relative error beyond which its activations stay float, thirteen times slower; SmolLM2-135M has no such layer."""


class _Errors:
    """What rounding its input in blocks does to the output of one layer, summed over calls."""

    def __init__(self) -> None:
        self._moved: dict[int, float] = {}
        self._whole = 0.0

    def relative(self, block: int) -> float:
        """‖(Q(x) - x) Ŵᵀ‖ / ‖x Ŵᵀ‖ for blocks of this size; 0 of a layer that nothing went through."""
        return float((self._moved[block] / self._whole) ** 0.5) if self._whole else 0.0

    def add(self, layer: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
        """Take in one call, as a forward hook. The float weights are forgotten again."""
        assert isinstance(layer, IntLinear)
        rows, answers = given[0].flatten(0, -2), output.flatten(0, -2)
        positions = torch.linspace(0, len(rows) - 1, min(len(rows), MOST_ROWS)).long()
        rows, answers = rows[positions], answers[positions]
        products = answers if layer.bias is None else answers - layer.bias
        self._whole += float(products.square().sum())
        for block in {layer.table.block, FINER_BLOCK}:
            moved = (round_blocks(rows, block) - rows) @ layer.weight.T
            self._moved[block] = self._moved.get(block, 0.0) + float(moved.square().sum())
        layer.table.release()

    @property
    def reached(self) -> bool:
        """Whether anything went through the layer."""
        return self._whole > 0


@torch.no_grad()
def rounding_errors(model: Model, batches: Sequence[Batch]) -> dict[str, dict[int, float]]:
    """Relative output error that int8 activations cause, by layer and size of block, of layers that batches reach."""
    layers = _layers(model)
    errors = {name: _Errors() for name in layers}
    hooks = {name: layer.register_forward_hook(errors[name].add) for name, layer in layers.items()}
    try:
        for batch in batches:
            for tower in _towers(model):
                tower.run(batch)
            if model.family.task == WHOLE:
                call(model.net, batch)
    finally:
        for hook in hooks.values():
            hook.remove()
    return {
        name: {block: layer_errors.relative(block) for block in (layers[name].table.block, FINER_BLOCK)}
        for name, layer_errors in errors.items()
        if layer_errors.reached
    }


@dataclass(frozen=True, slots=True)
class LevelInputs:
    """What goes through the layers: the first calibration rows of a run; without data, the family's probe.

    Random words rank SmolLM2's layers as texts do. The probe is made of the network before it is compressed, which may
    ask for other inputs afterwards.
    """

    rows: Sequence[Row]
    probe: Batch | None

    @classmethod
    def of(cls, source: Model, parts: Parts | None) -> LevelInputs:
        """The inputs for a run on these parts of the data."""
        rows = parts.calibrate[:MOST_ITEMS] if parts else ()
        return cls(rows, None if rows else source.family.probe(source.net, 0))

    def read_by(self, model: Model) -> list[Batch]:
        """The inputs as a model reads them."""
        if self.probe is not None:
            return [self.probe]
        return list(model.family.batches(model.settings, model.folder, self.rows))


def set_accuracy_levels(model: Model, inputs: LevelInputs, tell: Tell) -> list[str]:
    """Give every layer of codes the blocks and the accuracy level of `MatMulNBits` that suit its inputs.

    Layers of one module whose inputs are as wide get one size of block, so that what reads one input stays one product.
    Returns what a report should say of layers whose activations stay float.
    """
    layers = _layers(model)
    if not layers:
        return []
    tell("measure what rounded activations cost", 0, 0)
    errors = rounding_errors(model, inputs.read_by(model))
    trim_heap()
    _refine(layers, errors)
    floats = {}
    for name, layer in layers.items():
        error = errors.get(name, {}).get(layer.table.block, 0.0)
        layer.accuracy_level = FLOAT_ACTIVATIONS if error > FLOAT_BEYOND else INT8_ACTIVATIONS
        if error > FLOAT_BEYOND:
            floats[name] = error
    if not floats:
        return []
    worst = max(floats, key=floats.__getitem__)
    others = f" and {len(floats) - 1} more" if len(floats) > 1 else ""
    return [
        f"{worst}{others}: activations stay float in ONNX Runtime, which is slower; int8 ones would move its output by "
        f"{floats[worst]:.1%}"
    ]


def _refine(layers: Mapping[str, IntLinear], errors: Mapping[str, Mapping[int, float]]) -> None:
    """Cut blocks where the worst of a module's layers with inputs of one width loses too much."""
    worst: dict[tuple[str, int], float] = {}
    for name, by_block in errors.items():
        key = name.rpartition(".")[0], layers[name].table.width
        worst[key] = max(worst.get(key, 0.0), by_block[layers[name].table.block])
    for name, layer in layers.items():
        if worst.get((name.rpartition(".")[0], layer.table.width), 0.0) > FINER_BEYOND:
            layer.table.refine(FINER_BLOCK)


def _layers(model: Model) -> dict[str, IntLinear]:
    return {name: layer for name, layer in model.net.named_modules() if isinstance(layer, IntLinear)}


def _towers(model: Model) -> list[Tower]:
    """Towers that are run one by one: those that have layers of codes, of networks that are not run whole."""
    towers = [] if model.family.task == WHOLE else model.towers
    return [tower for tower in towers if any(isinstance(site.module, IntLinear) for site in tower.sites.values())]
