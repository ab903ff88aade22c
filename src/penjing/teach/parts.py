"""Which parameters of a student learn, and how they become what they were made of again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from penjing.layers.half import half_tensors
from penjing.layers.learned import LearnedGrid
from penjing.layers.masked import mask_of
from penjing.layers.static import Static, StaticInput
from penjing.layers.weight_only import IntConv, IntEmbedding, IntLinear
from penjing.models.family import Model
from penjing.models.tower import Site, Tower
from penjing.teach.adapters import Adapters
from penjing.tensor.grid import relative_error

Part = Literal["all", "norms", "adapters", "scales"]
CODED = (IntLinear, IntEmbedding, IntConv, Static)


@dataclass(frozen=True, eq=False, slots=True)
class Student:
    """Who learns: a model, towers and sites of it, and which of their parameters.

    Where the recipe `named` sites, only their own weights are meant. `rank` is of adapters.
    """

    model: Model
    towers: Sequence[Tower]
    sites: Sequence[Site]
    part: Part = "all"
    named: bool = False
    rank: int = 8


class Learners:
    """The parameters of a student that learn. Codes among them learn through their rounding, until `settle`.

    `all` are the targets' parameters and codes, `norms` what has one axis at most (norms, biases), `scales` those of
    codes, of weights and of inputs, `adapters` what is put beside linear layers.
    """

    def __init__(self, student: Student) -> None:
        model, sites, part = student.model, student.sites, student.part
        self._net, self._layers, self._adapters = model.net, list[Any](), None
        self._errors: dict[int, float] = {}
        model.net.requires_grad_(False)
        if part in ("all", "scales"):
            self._layers = [*_learn(sites, part == "all")]
        if part == "adapters":
            self._adapters = Adapters(model.net, sites, student.rank)
            return
        owned = {name for tower in student.towers for name in tower.parameter_names}
        if student.named:
            owned = {name for site in sites for name in site.weight_names}
        for name, parameter in model.net.named_parameters():
            inside = name in owned and parameter.is_floating_point()
            learns = {"all": True, "norms": parameter.dim() < 2, "scales": False}[part]
            of_codes = isinstance(_owner(model.net, name), (LearnedGrid, StaticInput))
            parameter.requires_grad_((inside and learns) or of_codes)

    @property
    def parameters(self) -> Mapping[str, nn.Parameter]:
        """What learns, by name."""
        return {name: value for name, value in self._net.named_parameters() if value.requires_grad}

    def error(self, layer: nn.Module) -> float:
        """How far codes are from the weights that they were learned with, relative; 0 for what was not rounded."""
        return self._errors.get(id(getattr(layer, "table", layer)), 0.0)

    @torch.no_grad()
    def settle(self) -> None:
        """Turn what was learned into codes, masks into zeros, and halves into halves; nothing learns any more."""
        for layer in self._layers:
            learned: LearnedGrid = layer.learned
            if learned.rounds:
                self._errors[id(layer)] = relative_error(learned.latent.view(learned.shape), learned())
            layer.settle()
        if self._adapters is not None:
            self._adapters.settle()
        self._net.requires_grad_(False)
        self._net.eval()
        own = dict(self._net.named_parameters())
        for name in half_tensors(self._net):
            own[name].copy_(own[name].half().float())


def _learn(sites: Sequence[Site], rounds: bool) -> Iterator[Any]:
    """Let the codes at these sites learn; yields what has to settle, a table that several read once.

    Layers that read one input have one grid for it, and learn one: engines round that input once for all of them.
    """
    seen: set[int] = set()
    grids: dict[tuple[float, int, int], Any] = {}
    for site in sites:
        layer = site.module
        if not isinstance(layer, CODED):
            continue
        holder: Any = getattr(layer, "table", layer)
        if id(holder) not in seen:
            seen.add(id(holder))
            holder.learn(rounds, mask_of(layer))
            if isinstance(holder, Static):
                holder.input.log_factor = grids.setdefault(holder.input.grid, holder.input.log_factor)
            yield holder


def _owner(net: nn.Module, name: str) -> nn.Module:
    return net.get_submodule(name.rpartition(".")[0])
