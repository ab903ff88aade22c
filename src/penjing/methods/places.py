"""Where a tower's blocks, and parts beside them, have inner channels to take away."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from penjing.calibrate.call import Call, real_calls
from penjing.calibrate.walk import Stretch
from penjing.models.family import Model
from penjing.models.inner import Inner, find_inner, is_convolution
from penjing.models.tower import Batch, Site, Tower, find_places


@dataclass(frozen=True, eq=False, slots=True)
class Place:
    """Inner channels, the block they are in or what they are in beside the blocks, and how to run that once."""

    tower: Tower
    block: nn.Module
    inner: Inner
    run: Callable[[], Any]

    @property
    def name(self) -> str:
        """Name of the site that reads them."""
        return self.inner.reader.name

    def is_in(self, stretch: Stretch) -> bool:
        """Return whether a step of a walk comes by here."""
        return self.name in stretch.sites if stretch.outside else self.block is stretch.module

    @property
    def parents(self) -> list[nn.Module]:
        """The modules of the block that hold the reader."""
        reader = self.inner.reader.module
        return [module for module in self.block.modules() if any(inner is reader for inner in module.modules())][:-1]

    @property
    def sites(self) -> list[Site]:
        """The sites that make and read them."""
        return [*(maker for maker, _ in self.inner.makers), self.inner.reader]


def places_within(model: Model, tower: Tower, parts: Sequence[nn.Module], batches: Sequence[Batch]) -> Iterator[Place]:
    """Find the inner channels inside of some parts of a tower."""
    everything = [*find_places(model.net)]
    for part in parts:
        inside = {id(module) for module in part.modules()}
        sites = [site for site in everything if id(site.parent) in inside]
        readers = None if any(part is block for block in tower.blocks) else _outside(tower, sites)
        call = next((one for batch in batches[:1] for one in real_calls(tower, part, batch)), None)
        if call is None or not call.args or not torch.is_floating_point(call.args[0]):
            continue
        run = _again(part, call)
        yield from (Place(tower, part, inner, run) for inner in find_inner(part, run, sites, readers))


def _again(block: nn.Module, call: Call) -> Callable[[], Any]:
    """Run a block once more on the same arguments."""

    def run() -> Any:
        copied = call.copy()
        return block(*copied.args, **copied.kwargs)

    return run


def towers_of(places: Sequence[Place]) -> list[Tower]:
    """Return the towers that places are in, each once."""
    return [*{id(place.tower): place.tower for place in places}.values()]


def has_stem(tower: Tower) -> bool:
    """Whether convolutions stand outside of a tower's blocks: what they hand on to one another can be narrower."""
    names = _outside(tower, [*tower.sites.values()])
    return bool(tower.blocks) and any(is_convolution(tower.sites[name].module) for name in names)


def _outside(tower: Tower, sites: Sequence[Site]) -> set[str]:
    """Names of the sites that are in none of a tower's blocks."""
    blocks = _within_blocks(tower)
    return {site.name for site in sites if id(site.parent) not in blocks}


def _within_blocks(tower: Tower) -> set[int]:
    """All modules of a tower's blocks, by what `id` gives."""
    return {id(module) for block in tower.blocks for module in block.modules()}


def parts_beside(tower: Tower, widths: set[int]) -> list[nn.Module]:
    """Find modules beside a tower's blocks that hold two linear layers: one gives so many channels, one reads them."""
    outside, blocks = _outside(tower, [*tower.sites.values()]), _within_blocks(tower)
    linear = [one for name, one in tower.sites.items() if one.kind == "linear" and name in outside]
    ends = [{id(one.parent) for one in linear if one.weight.shape[axis] in widths} for axis in (0, 1)]
    found = {id(one.parent): one.parent for one in linear if all(id(one.parent) in end for end in ends)}
    return [part for part in found.values() if not any(id(inner) in blocks for inner in part.modules())]
