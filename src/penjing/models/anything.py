"""Any torch module as a model of one tower: what has no configuration, no checkpoint folder and no task."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from penjing.data.row import Row
from penjing.errors import DataError
from penjing.models.family import Component, Model
from penjing.models.tower import LABELS, Batch, Tower, find_sites
from penjing.models.trunks import count_parameters, find_blocks

NAME = "model"
Inputs = Tensor | tuple[Tensor, ...] | Mapping[str, Tensor]
"""What a module is called with: one tensor, several, or by name."""


@dataclass(frozen=True, eq=False)
class AnyModule:
    """The family of a single module. `example` are the inputs of one call; its graph is exported with their shapes."""

    example: Batch
    name: str = "module"
    task: str | None = None
    outputs: tuple[str, ...] = field(default=("output",))

    def matches(self, config: Any) -> bool:
        """No configuration belongs to it."""
        return False

    def towers(self, net: nn.Module) -> list[Tower]:
        """One: its blocks are its chain of like layers, or the module is one block."""
        own = frozenset(name for name, _ in net.named_parameters())
        blocks = find_blocks(net) or (net,)
        return [Tower(NAME, "encoder", "mixed", net, partial(_run, net), blocks, find_sites(net, net), own)]

    def components(self, net: nn.Module) -> list[Component]:
        """Its graph; the first axis of every input is the batch."""
        return [Component(NAME, net, self.example, self.outputs, {name: {0: "batch"} for name in self.example}, NAME)]

    def settings(self, net: nn.Module, folder: Path | None) -> dict[str, Any]:
        """Nothing is known of it."""
        return {}

    def batches(self, settings: Mapping[str, Any], folder: Path, rows: Iterable[Row]) -> Iterator[Batch]:
        """Rows of data cannot be turned into inputs that nobody described."""
        raise DataError("a bare module reads no data sets", hint="give batches of its inputs")

    def probe(self, net: nn.Module, seed: int) -> Batch:
        """The example."""
        return self.example


def model_around(net: nn.Module, example: Batch) -> Model:
    """Describe a module that is already in memory."""
    family = AnyModule({name: value for name, value in example.items() if name != LABELS})
    source = {"id": type(net).__name__, "sha256": "", "parameters": count_parameters(net)}
    return Model(type(net).__name__, net, None, Path(), family, tuple(family.towers(net)), {}, source)


def batch_of(net: nn.Module, inputs: Any) -> Batch:
    """Inputs by the names that the module's forward gives them."""
    if isinstance(inputs, Mapping):
        found: dict[str, Any] = dict(inputs)
    else:
        given = [inputs] if isinstance(inputs, Tensor) else [*inputs]
        names = [*inspect.signature(net.forward).parameters]
        if len(given) > len(names):
            raise DataError(
                f"a batch of {len(given)} tensors, and {type(net).__name__} takes {len(names)}",
                hint="give the inputs alone, or by name with `labels` beside them",
            )
        found = dict(zip(names, given, strict=False))
    for name, value in found.items():
        if not isinstance(value, Tensor):
            raise DataError(f"batch: {name} is a {type(value).__name__}", hint="give tensors")
    return found


def _run(net: nn.Module, batch: Batch) -> Any:
    """Call the module, its first input by place: as a block, it is given its hidden states first."""
    first = next(iter(inspect.signature(net.forward).parameters))
    named = {name: batch[name] for name in batch if name not in (first, LABELS)}
    return net(batch[first], **named) if first in batch else net(**named)
