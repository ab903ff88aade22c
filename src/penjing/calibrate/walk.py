"""Walk through a tower block after block, with statistics of what each block really sees.

    for block, calls, stats in walk(tower, batches, observe):
        ...compress the sites of this block in place...

The caller compresses inside the loop, and the next block is fed by what the compressed one really produces. No hook
outlives its step. Sites outside the blocks (a convolutional stem, a projection at the end) come first and last, as a
block of their own. Compress under `torch.no_grad()`: a decorator on this generator would not cover the caller's loop.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from penjing.calibrate.call import Call
from penjing.calibrate.chain import chains
from penjing.layers.weight_only import release_floats
from penjing.models.tower import Batch, Site, Tower
from penjing.values import Tell

Observe = Callable[[], "Statistic"]
Observed = Callable[[Mapping[str, Site]], contextlib.AbstractContextManager[dict[str, "Statistic"]]]


class Statistic:
    """What is remembered of a site's inputs. Subclasses add; `see` is called once per call of the site."""

    item = -1
    """Number of the batch that inputs are of."""
    bad_item: int | None = None
    """Number of the first batch whose inputs were not all finite."""

    def begin(self, batch: Batch) -> None:
        """Hear of which batch the inputs that follow are."""
        self.item += 1

    def check(self, total: Tensor | float) -> None:
        """Hear a number, or several, that are finite where all of an input was."""
        if self.bad_item is None and not bool(torch.isfinite(torch.as_tensor(total)).all()):
            self.bad_item = self.item

    @property
    def finite(self) -> bool:
        """Whether everything seen was finite."""
        return self.bad_item is None

    def see(self, values: Tensor) -> None:
        """Take in one input of the site, (..., in)."""
        raise NotImplementedError


@dataclass(frozen=True, eq=False, slots=True)
class Stretch:
    """A block and its sites by name; for the sites outside all blocks, `module` is the whole tower, `calls` empty."""

    module: nn.Module
    sites: Mapping[str, Site]
    outside: bool = False


def walk(
    tower: Tower, batches: Sequence[Batch], observe: Observe, watched: Container[str] | None = None
) -> Iterator[tuple[Stretch, list[Call], dict[str, Statistic]]]:
    """Yield every stretch of the tower in order of execution, with statistics of its sites' inputs.

    Of the sites that are `watched` (None: of all) there are statistics.
    """
    observed = partial(_watch, observe=observe, watched=watched)
    inside = [sites_within(tower, block) for block in tower.blocks]
    claimed = {name for sites in inside for name in sites}
    outer = {name: site for name, site in tower.sites.items() if name not in claimed}
    before = _reached_before_blocks(tower, outer, batches)
    stem = {name: site for name, site in outer.items() if name in before}
    if stem:
        yield _outside(tower, stem, batches, observed)
    linked = [*chains(tower, batches)] if tower.blocks else []
    for place, (block, sites) in enumerate(zip(tower.blocks, inside, strict=True)):
        calls = [chain.calls(place) for chain in linked]
        with observed(sites) as stats:
            for batch, some in zip(batches, calls, strict=True):
                _begin(stats, batch)
                for call in some:
                    call.on(block)
        yield Stretch(block, sites), [call for some in calls for call in some], stats
        for chain, some in zip(linked, calls, strict=True):
            chain.advance(place, some)
        release_floats(block)  # memory is to grow with one block, not with all
    tail = {name: site for name, site in outer.items() if name not in before}
    if tail:
        yield _outside(tower, tail, batches, observed)


def each_site(
    tower: Tower, batches: Sequence[Batch], observe: Observe, chosen: Mapping[str, Site], tell: Tell
) -> Iterator[tuple[Site, Statistic]]:
    """`walk`, site by site: every chosen site with what it sees, for the caller to settle before the next one comes."""
    tell(f"calibrate {tower.name}", 0, len(chosen))
    done = 0
    for stretch, _, stats in walk(tower, batches, observe, chosen):
        for name in (name for name in stretch.sites if name in chosen):
            yield chosen[name], stats[name]
            done += 1
            tell(f"calibrate {tower.name}", done, len(chosen))


def _outside(
    tower: Tower, sites: Mapping[str, Site], batches: Sequence[Batch], observed: Observed
) -> tuple[Stretch, list[Call], dict[str, Statistic]]:
    """Run the whole tower, as compressed so far, and watch the sites outside its blocks."""
    with observed(sites) as stats:
        for batch in batches:
            _begin(stats, batch)
            tower.run(batch)
    return Stretch(tower.module, sites, outside=True), [], stats


def _begin(stats: Mapping[str, Statistic], batch: Batch) -> None:
    for stat in stats.values():
        stat.begin(batch)


def sites_within(tower: Tower, block: nn.Module) -> dict[str, Site]:
    """The sites of a tower that lie in one of its blocks."""
    parents = {id(module) for module in block.modules()}
    return {name: site for name, site in tower.sites.items() if id(site.parent) in parents}


@torch.no_grad()
def _reached_before_blocks(tower: Tower, sites: Mapping[str, Site], batches: Sequence[Batch]) -> set[str]:
    """Names of the sites that run before the first block does; all of them where there are no blocks."""
    if not sites or not tower.blocks or not batches:
        return set(sites)
    order: list[str] = []
    with contextlib.ExitStack() as hooks:
        for name, module in [("", tower.blocks[0]), *((name, site.module) for name, site in sites.items())]:
            hook = module.register_forward_pre_hook(lambda module, args, name=name: order.append(name))
            hooks.callback(hook.remove)
        tower.run(batches[0])
    return set(order[: order.index("")] if "" in order else order)


@contextlib.contextmanager
def _watch(
    sites: Mapping[str, Site], observe: Observe, watched: Container[str] | None
) -> Iterator[dict[str, Statistic]]:
    """Feed each watched site's inputs to a statistic of its own while the context is open."""
    stats = {name: observe() for name in sites if watched is None or name in watched}
    with contextlib.ExitStack() as hooks:
        for name, stat in stats.items():
            hook = sites[name].module.register_forward_pre_hook(
                lambda module, args, stat=stat: stat.see(args[0].detach())
            )
            hooks.callback(hook.remove)
        with torch.no_grad():
            yield stats
