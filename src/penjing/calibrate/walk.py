"""Walk through a tower block after block, with statistics of what each block really sees.

    for block, calls, stats in walk(tower, batches, observe):
        ...compress the sites of this block in place...

The caller compresses inside the loop, and the next block is fed by what the compressed one really produces. No hook
outlives its step. Sites outside the blocks (a convolutional stem, a projection at the end) come first and last, as a
block of their own. Call it under `torch.no_grad()`: a decorator on a generator does not cover the loop that
consumes it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from penjing.models.tower import Batch, Site, Tower

Observe = Callable[[], "Statistic"]


class Statistic:
    """What is remembered of a site's inputs. Subclasses add; `see` is called once per call of the site."""

    def see(self, values: Tensor) -> None:
        """Take in one input of the site, (..., in)."""
        raise NotImplementedError


@dataclass(frozen=True, eq=False, slots=True)
class Call:
    """The arguments of one call of a block."""

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]


@dataclass(frozen=True, eq=False, slots=True)
class Stretch:
    """A block and its sites by name; for the sites outside all blocks, `module` is the whole tower, `calls` empty."""

    module: nn.Module
    sites: Mapping[str, Site]
    outside: bool = False


class _Reached(Exception):
    """The first block was reached; what follows need not run."""


def walk(
    tower: Tower, batches: Sequence[Batch], observe: Observe
) -> Iterator[tuple[Stretch, list[Call], dict[str, Statistic]]]:
    """Yield every stretch of the tower in order of execution, with statistics of its sites' inputs."""
    inside = [_sites_within(tower, block) for block in tower.blocks]
    claimed = {name for sites in inside for name in sites}
    outer = {name: site for name, site in tower.sites.items() if name not in claimed}
    before = _reached_before_blocks(tower, outer, batches)
    stem = {name: site for name, site in outer.items() if name in before}
    if stem:
        yield _outside(tower, stem, batches, observe)
    calls = [_first_call(tower, batch) for batch in batches] if tower.blocks else []
    for block, sites in zip(tower.blocks, inside, strict=True):
        with _watch(sites, observe) as stats:
            for call in calls:
                block(*call.args, **call.kwargs)
        yield Stretch(block, sites), calls, stats
        calls = [_next_call(block, call) for call in calls]
    tail = {name: site for name, site in outer.items() if name not in before}
    if tail:
        yield _outside(tower, tail, batches, observe)


def _outside(
    tower: Tower, sites: Mapping[str, Site], batches: Sequence[Batch], observe: Observe
) -> tuple[Stretch, list[Call], dict[str, Statistic]]:
    """Run the whole tower, as compressed so far, and watch the sites outside its blocks."""
    with _watch(sites, observe) as stats:
        for batch in batches:
            tower.run(batch)
    return Stretch(tower.module, sites, outside=True), [], stats


def _sites_within(tower: Tower, block: nn.Module) -> dict[str, Site]:
    parents = {id(module) for module in block.modules()}
    return {name: site for name, site in tower.sites.items() if id(site.parent) in parents}


def _reached_before_blocks(tower: Tower, sites: Mapping[str, Site], batches: Sequence[Batch]) -> set[str]:
    """Names of the sites that run before the first block does; all of them where there are no blocks."""
    if not tower.blocks or not batches:
        return set(sites)
    seen: set[str] = set()
    with contextlib.ExitStack() as hooks:
        for name, site in sites.items():
            hook = site.module.register_forward_pre_hook(lambda module, args, name=name: seen.add(name))
            hooks.callback(hook.remove)
        _first_call(tower, batches[0])
    return seen


def _first_call(tower: Tower, batch: Batch) -> Call:
    """Run the tower up to its first block and return what that would have been called with."""
    caught: list[Call] = []

    def catch(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        caught.append(Call(args, kwargs))
        raise _Reached

    hook = tower.blocks[0].register_forward_pre_hook(catch, with_kwargs=True)
    try:
        with contextlib.suppress(_Reached):
            tower.run(batch)
    finally:
        hook.remove()
    return caught[0]


def _next_call(block: nn.Module, call: Call) -> Call:
    """Feed the block's output to the next block as its first argument, all other arguments unchanged."""
    output = block(*call.args, **call.kwargs)
    hidden = output[0] if isinstance(output, tuple) else output
    if call.args:
        return Call((hidden, *call.args[1:]), call.kwargs)
    return Call((), {**call.kwargs, "hidden_states": hidden})


@contextlib.contextmanager
def _watch(sites: Mapping[str, Site], observe: Observe) -> Iterator[dict[str, Statistic]]:
    """Feed each site's inputs to a statistic of its own while the context is open."""
    stats = {name: observe() for name in sites}
    with contextlib.ExitStack() as hooks:
        for name, site in sites.items():
            hook = site.module.register_forward_pre_hook(
                lambda module, args, name=name: stats[name].see(args[0].detach())
            )
            hooks.callback(hook.remove)
        with torch.no_grad():
            yield stats
