"""Many layers in one graph, so that a whole table of cases costs one export; run in PyTorch and in both engines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from penjing.artifact.export import export_component
from penjing.models.family import Component
from penjing.models.reference import TorchGraph
from penjing.runtimes.engine import Engine, Graph
from penjing.runtimes.openvino_decoder import StatefulDecoder
from penjing.values import Array

EXACT = {
    "onnxruntime": Engine("onnxruntime", 2, exact=True),
    "openvino": Engine("openvino", 2, exact=True, cache=False),
}
"""Both engines, without what they round on their own."""


class Rack(nn.Module):
    """Layers side by side that read one input; each answers under its own name."""

    def __init__(self, layers: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers.values())

    def forward(self, values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(layer(values) for layer in self.layers)


def rack(layers: Mapping[str, nn.Module], values: torch.Tensor, dynamic: Mapping[int, str]) -> Component:
    """A component of these layers; the example input `values` varies along the axes named in `dynamic`."""
    return Component("rack", Rack(layers).eval(), {"values": values}, tuple(layers), {"values": dynamic})


def opened(component: Component, folder: Path) -> dict[str, Graph]:
    """The component in PyTorch and, exported, in both engines in exact mode."""
    path = export_component(component, folder)
    return {"torch": TorchGraph(component), **{name: engine.open(path) for name, engine in EXACT.items()}}


def kinds_of_layers(decoder: StatefulDecoder) -> Counter[str]:
    """How many layers of each kind OpenVINO made of a decoder."""
    layers = decoder._request.get_compiled_model().get_runtime_model().get_ops()
    return Counter(layer.get_rt_info()["layerType"].astype(str) for layer in layers)


def in_turns(iterators: Sequence[Iterator[str]]) -> list[list[str]]:
    """What each of several iterators gives, where one piece of every one is taken in each round."""
    taken: list[list[str]] = [[] for _ in iterators]
    left = [*enumerate(iterators)]
    while left:
        for number, iterator in [*left]:
            try:
                taken[number].append(next(iterator))
            except StopIteration:
                left.remove((number, iterator))
    return taken


def relative_errors(found: Mapping[str, Array], wanted: Mapping[str, Array]) -> dict[str, float]:
    """Largest difference of every output over its largest value."""
    return {name: float(np.abs(found[name] - wanted[name]).max() / np.abs(wanted[name]).max()) for name in wanted}


def bits_of(module: nn.Module) -> dict[str, bytes]:
    """The bytes of everything a module keeps."""
    return {name: tensor.contiguous().numpy().tobytes() for name, tensor in module.state_dict().items()}
