"""Channels that sums carry from layer to layer: who writes and reads them, over all the towers of a model.

A layer adds to what the layers before it gave, so the channels of all of them are the same ones. Which sites share
channels is read off gradients of one run of every tower, as for inner channels (`models/inner`); nothing is known of
any model here.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from penjing.errors import ModelError
from penjing.models.attempt import attempt
from penjing.models.capture import call
from penjing.models.family import Model
from penjing.models.inner import Inner, Leaf, Run, inner_of, is_depthwise, is_plain, reach, watched
from penjing.models.tower import Batch, find_places, is_transposed

FORWARD = "forward"
"""What the whole network is called among the towers."""


class Port(NamedTuple):
    """Where channels are made (`out` of a site), taken (`in` of a site) or weighed between (`own` of a parameter)."""

    side: Literal["out", "in", "own"]
    name: str


@dataclass(frozen=True, slots=True)
class Stream:
    """Ports of the same channels.

    `given`: some tower answers with one vector of them, and its users count on it. `inner`: what is known of their
    units where one site reads them and no norm mixes them: heads, above all.
    """

    ports: frozenset[Port]
    given: bool = False
    inner: Inner | None = None


class Ports:
    """All sites of a network by name, and which port an axis of a tensor is of."""

    def __init__(self, net: nn.Module) -> None:
        self.sites = {site.name: site for site in find_places(net) if _has_channels(site.module)}

    def of(self, tensor: str, axis: int) -> Port | None:
        """The port of an axis of a parameter or buffer; None for the words of a table, and pixels of a kernel."""
        name, _, attribute = tensor.rpartition(".")
        site = self.sites.get(name)
        if site is None:
            return Port("own", tensor)
        if attribute == "bias":
            return Port("out", name)
        if isinstance(site.module, nn.Embedding):
            return Port("out", name) if axis == 1 else None
        sides: tuple[Literal["in", "out"], ...] = ("in", "out") if is_transposed(site.module) else ("out", "in")
        return Port(sides[axis], name) if axis < len(sides) else None


def _has_channels(module: nn.Module) -> bool:
    return isinstance(module, nn.Embedding) or (is_plain(module) and not is_depthwise(module))


def find_streams(model: Model, batch: Batch) -> list[Stream]:
    """Every set of ports that share channels, inner ones of a block among them.

    `batch` is run through every tower that it can feed.
    """
    sets = _Sets()
    given: list[Port] = []
    units: dict[Port, Inner | None] = {}
    ports = Ports(model.net)
    sites = [*ports.sites.values()]
    whole: Callable[[Batch], Any] = partial(call, model.net)
    starts = [*((f"tower {tower.name}", tower.run) for tower in model.towers if tower.blocks), (FORWARD, whole)]
    for name, start in starts:
        with watched(model.net, sites, 0) as run:
            output = _answer(model, name, start, batch)
            names = _names(model.net, run, ports)
            for site, values in run.entered.items():
                port = Port("in", site.name)
                sets.unite([port, *_reached(values, run, names)])
                units[port] = units.get(port) or inner_of(site, run)
            for vector in _vectors(output) if start is not whole else ():
                given += _reached(vector, run, names)
    return [_described(ports, units, {*given}) for ports in sets.all()]


def _answer(model: Model, name: str, start: Callable[[Batch], Any], batch: Batch) -> Any:
    """Output of a tower, which has to run on its inputs, or of the whole network, which need not where a tower did.

    Whisper's own forward takes clips of 30 s alone; its towers take any length, and hold all that it is made of.
    """
    if name != FORWARD or not any(tower.blocks for tower in model.towers):
        return attempt(model, name, start, batch)
    with contextlib.suppress(ModelError):
        return attempt(model, name, start, batch)
    return None


def _described(ports: frozenset[Port], units: Mapping[Port, Inner | None], given: Collection[Port]) -> Stream:
    """A stream, with the units of its one reader where it has one."""
    readers = [port for port in ports if port.side == "in"]
    return Stream(ports, not ports.isdisjoint(given), units.get(readers[0]) if len(readers) == 1 else None)


class _Sets:
    """Disjoint sets of ports."""

    def __init__(self) -> None:
        self._of: dict[Port, set[Port]] = {}

    def unite(self, ports: Sequence[Port]) -> None:
        """Let these, and whatever is with one of them, be together."""
        joined = set(ports).union(*(self._of.get(port, ()) for port in ports))
        for port in joined:
            self._of[port] = joined

    def all(self) -> list[frozenset[Port]]:
        """Each set once, in the order of their first ports."""
        return [frozenset(one) for one in {id(found): found for found in self._of.values()}.values()]


def _names(net: nn.Module, run: Run, ports: Ports) -> dict[tuple[int, str], Port]:
    """Ports of the parameters in between; tables that were read without a call write their columns."""
    modules = {id(module) for module, _ in run.small}
    found = {}
    for path, module in net.named_modules():
        for key, values in module.named_parameters(recurse=False) if id(module) in modules else ():
            port = ports.of(f"{path}.{key}" if path else key, values.dim() - 1)
            if port is not None:
                found[id(module), key] = port
    return found


def _reached(values: Tensor, run: Run, names: Mapping[tuple[int, str], Port]) -> Iterator[Port]:
    """What made a tensor, as far back as the nearest sites."""
    if not values.requires_grad:
        return
    made: list[tuple[Port, Leaf]] = [(Port("out", site.name), leaf) for site, leaf in run.given.items()]
    made += [(names[id(module), key], leaf) for (module, key), leaf in run.small.items()]
    every = torch.ones(values.shape[-1], dtype=torch.bool)
    found = reach(values, values.dim() - 1, every, [leaf for _, leaf in made])
    yield from (port for (port, _), reached in zip(made, found, strict=True) if bool(reached.any()))


def _vectors(output: Any) -> Iterator[Tensor]:
    """What a tower says of a whole item: tensors (items, width) among its outputs."""
    parts = [output] if isinstance(output, Tensor) else output if isinstance(output, (tuple, list)) else ()
    yield from (part for part in parts if isinstance(part, Tensor) and part.dim() == 2 and part.is_floating_point())
