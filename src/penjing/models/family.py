"""What a family of models tells the rest of the house: its towers, its graphs, what the shop must know, its inputs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from penjing.data.row import Row
from penjing.models.tower import Batch, Tower


@dataclass(frozen=True, eq=False, slots=True)
class Component:
    """One ONNX graph of an artifact: a module with flat named tensors in and out.

    `inputs` are example tensors in the order of the module's forward; `dynamic` names the axes that vary:
    `{"input_ids": {0: "batch", 1: "tokens"}}`. An axis name shared by two inputs means they are equal.
    """

    name: str
    module: nn.Module
    inputs: Mapping[str, torch.Tensor]
    outputs: tuple[str, ...]
    dynamic: Mapping[str, Mapping[int, str]] = field(default_factory=dict)
    tower: str = ""
    """The tower whose work this graph mostly does, for the report's table of milliseconds."""
    one_call: Mapping[str, torch.Tensor] = field(default_factory=dict)
    """What a runner feeds it at once, where that is less than `inputs`: these have to show that every axis varies."""


class Family(Protocol):
    """A family of models. `net` is the transformers model, opened in float32 and in eval mode."""

    @property
    def name(self) -> str:
        """What `inspect` calls the family."""

    @property
    def task(self) -> str | None:
        """One of the tasks the runtimes know, or None: weight-only compression and `--format checkpoint`."""

    def matches(self, config: Any) -> bool:
        """Return whether a transformers config belongs to this family."""

    def towers(self, net: nn.Module) -> list[Tower]:
        """Find the towers; together they own every parameter."""

    def components(self, net: nn.Module) -> list[Component]:
        """Return the graphs to export; empty where the family has no ONNX route."""

    def settings(self, net: nn.Module, folder: Path | None) -> dict[str, Any]:
        """Return what the shop must know about this model, as plain JSON (see design section 4)."""

    def batches(self, settings: Mapping[str, Any], folder: Path, rows: Iterable[Row]) -> Iterator[Batch]:
        """Turn rows of data into inputs for every tower's `run`; one batch of one item per row."""

    def probe(self, net: nn.Module, seed: int) -> Batch:
        """Return synthetic inputs, seeded, that every tower's `run` accepts."""


@dataclass(frozen=True, slots=True)
class Origin:
    """The checkpoint that a model was opened from: what the user named, its folder and the identity it had."""

    name: str
    folder: Path
    source: Mapping[str, Any]


@dataclass(frozen=True, eq=False, slots=True)
class Model:
    """An opened model: what the user named, the network, its family and its towers."""

    name: str
    net: nn.Module
    config: Any
    folder: Path
    family: Family
    towers: tuple[Tower, ...]
    settings: Mapping[str, Any]
    source: Mapping[str, Any]
    """Identity for the manifest: `id`, `revision`, `sha256` of the weights, `size_bytes` on disk, `parameters`."""

    @property
    def origin(self) -> Origin:
        """The checkpoint, without the network."""
        return Origin(self.name, self.folder, self.source)
