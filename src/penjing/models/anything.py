"""Any torch module as a model of one tower: what has no configuration, no checkpoint folder and no task."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from penjing.data.row import Row
from penjing.errors import DataError
from penjing.models.family import Component, Model
from penjing.models.tower import LABELS, Batch, Tower, find_sites
from penjing.models.trunks import count_parameters, find_blocks

NAME = "model"
OUTPUT = "output"
FIRST_LINE = 200
"""Characters of a library's message that are repeated."""
Inputs = Tensor | tuple[Tensor, ...] | Mapping[str, Tensor]
"""What a module is called with: one tensor, several, or by name."""


@dataclass(frozen=True, eq=False)
class AnyModule:
    """The family of a single module. `example` are the inputs of one call; its graph is exported with their shapes."""

    example: Batch
    name: str = "module"
    task: str | None = None

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
        parameters = list(inspect.signature(net.forward).parameters)
        in_order = sorted(
            self.example, key=lambda name: parameters.index(name) if name in parameters else len(parameters)
        )
        example = {name: self.example[name] for name in in_order}
        outputs = output_names(net, example)
        is_flat = outputs == (OUTPUT,) and set(example) <= set(parameters)
        module = net if is_flat else FlatModule(net, tuple(example), outputs)
        return [Component(NAME, module, example, outputs, {name: {0: "batch"} for name in example}, NAME)]

    def settings(self, net: nn.Module, folder: Path | None) -> dict[str, Any]:
        """Nothing is known of it."""
        return {}

    def batches(self, settings: Mapping[str, Any], folder: Path, rows: Iterable[Row]) -> Iterator[Batch]:
        """Rows of data cannot be turned into inputs that nobody described."""
        raise DataError("a bare module reads no data sets", hint="give batches of its inputs")

    def probe(self, net: nn.Module, seed: int) -> Batch:
        """The example."""
        return self.example


class FlatModule(nn.Module):
    """A module with tensors in and tensors out, for the exporter: inputs by name, outputs picked from what it returns.

    What else an output holds (a cache of keys and values, `None`) is dropped.
    """

    def __init__(self, net: nn.Module, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> None:
        super().__init__()
        self.net, self.inputs, self.outputs = net, inputs, outputs

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Call the module with tensors in the order of `inputs`; returns those named `outputs`."""
        named = named_outputs(_call_module(self.net, dict(zip(self.inputs, tensors, strict=True))))
        return tuple(named[name] for name in self.outputs)


def named_outputs(output: Any) -> dict[str, Tensor]:
    """Tensors of a module's output: one is `output`, of a tuple they are numbered, a mapping names them."""
    if isinstance(output, Tensor):
        return {OUTPUT: output}
    if isinstance(output, Mapping):
        return {str(name): value for name, value in output.items() if isinstance(value, Tensor)}
    if isinstance(output, (tuple, list)):
        tensors = [value for value in output if isinstance(value, Tensor)]
        return (
            {OUTPUT: tensors[0]} if len(tensors) == 1 else {f"{OUTPUT}_{i}": value for i, value in enumerate(tensors)}
        )
    return {}


@torch.no_grad()
def output_names(net: nn.Module, example: Batch) -> tuple[str, ...]:
    """Names of the tensors that the module returns for an example.

    Raises DataError where it cannot be called with the example, or returns no tensor.
    """
    name = type(net).__name__
    try:
        output = _call_module(net, example)
    except Exception as error:  # whatever the code of a user's module raises
        reason = " ".join(str(error).split())[:FIRST_LINE] or type(error).__name__
        raise DataError(
            f"{name} cannot be called with its first batch ({', '.join(example)}): {reason}",
            hint=f"its forward takes {', '.join(inspect.signature(net.forward).parameters)}",
        ) from error
    named = named_outputs(output)
    if not named:
        raise DataError(
            f"{name} returns a {type(output).__name__} without tensors", hint="give a module that returns tensors"
        )
    return tuple(named)


def model_around(net: nn.Module, example: Batch) -> Model:
    """Describe a module that is already in memory."""
    family = AnyModule({name: value for name, value in example.items() if name != LABELS})
    source = {"id": type(net).__name__, "sha256": "", "parameters": count_parameters(net)}
    return Model(type(net).__name__, net, None, Path(), family, tuple(family.towers(net)), {}, source)


def batches_of(net: nn.Module, batches: Any) -> list[Batch]:
    """Every batch by the names that the module's forward gives its inputs.

    Args:
        net: the module that is called with them.
        batches: tensors, tuples of tensors, or mappings by name; one of each per call of the module.
    """
    hint = "give a list of batches: [tensor, …], [(tensor, tensor), …] or [{name: tensor}, …]"
    if isinstance(batches, (Tensor, Mapping, str, bytes)):
        what = f"one tensor {tuple(batches.shape)}" if isinstance(batches, Tensor) else f"a {type(batches).__name__}"
        cut = "; tensor.split(16) makes a list of one" if isinstance(batches, Tensor) else ""
        raise DataError(f"batches is {what}, not a list of batches", hint=hint + cut)
    if not isinstance(batches, Iterable):
        raise DataError(f"batches is a {type(batches).__name__}, not a list of batches", hint=hint)
    named = [batch_of(net, batch) for batch in batches]
    if not named:
        raise DataError("no batches", hint="give at least one batch of the module's inputs: batches=[tensor, …]")
    return named


def batch_of(net: nn.Module, inputs: Any) -> Batch:
    """Inputs by the names that the module's forward gives them."""
    if isinstance(inputs, Mapping):
        found: dict[str, Any] = dict(inputs)
    else:
        if not isinstance(inputs, (Tensor, tuple, list)):
            raise DataError(
                f"a batch is a {type(inputs).__name__}", hint="give a tensor, a tuple of tensors, or {name: tensor}"
            )
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
            raise DataError(f"batch: {name} is a {type(value).__name__}", hint="give tensors, as torch.as_tensor makes")
    return found


def _run(net: nn.Module, batch: Batch, **options: Any) -> Any:
    """Call the module, its first input by position: as a block, it is given its hidden states first."""
    first = next(iter(inspect.signature(net.forward).parameters))
    named = {name: batch[name] for name in batch if name not in (first, LABELS)}
    return net(batch[first], **named, **options) if first in batch else net(**named, **options)


def _call_module(net: nn.Module, batch: Batch) -> Any:
    """Call the module as `_run` does; a language model is told to return no cache."""
    takes_cache = "use_cache" in inspect.signature(net.forward).parameters and "use_cache" not in batch
    return _run(net, batch, **({"use_cache": False} if takes_cache else {}))
