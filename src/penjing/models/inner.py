"""What must change together inside a block: channels that only its own layers make and read, in units that can go.

Neurons of a feed-forward part, heads of an attention (with the key heads they share), inner channels of a bottleneck:
all are found the same way, from gradients of one run, and no model is known here. What a site gives is replaced by
noise of its shape, so that gradients end at the nearest sites and no channel is silent by chance.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from penjing.models.tower import Site, is_transposed

Kind = Literal["neurons", "heads", "channels"]
MOST_RUNS = 6
"""Runs with other noise, where some channel was silent."""
UNREAD = -1
"""The unit of a channel that the reader does not read: it stays."""


@dataclass(frozen=True, eq=False, slots=True)
class Inner:
    """Channels between layers of a block: `makers` give them, `reader` is the one layer that takes them.

    `read` (in,) numbers the unit of each input channel of the reader, from 0 to `count` - 1; `makers` and `followers`
    have the unit of each of their output channels. Followers are layers in between that work channel by channel: a
    norm with fixed statistics, a depthwise convolution.
    """

    reader: Site
    read: Tensor
    count: int
    makers: tuple[tuple[Site, Tensor], ...]
    followers: tuple[tuple[nn.Module, Tensor], ...] = ()

    @property
    def readers(self) -> tuple[tuple[Site, Tensor], ...]:
        """The one reader, as makers are."""
        return ((self.reader, self.read),)

    @property
    def kind(self) -> Kind:
        """What convolutions make are channels, or groups that a norm takes together; several of a layer are a head."""
        if any(is_convolution(maker.module) for maker, _ in self.makers):
            return "channels"
        return "heads" if self.is_grouped else "neurons"

    @property
    def is_grouped(self) -> bool:
        """Whether a unit takes several channels of a maker: a head, a group of a norm."""
        return any(self.count < len(units) for _, units in self.makers)

    def channels(self, units: Tensor) -> Tensor:
        """Which input channels of the reader are of these units (bool, (units,)): bool, (in,)."""
        return units[self.read]


def is_convolution(module: nn.Module) -> bool:
    """Return whether channels lie on the second axis of what a module takes and gives."""
    return isinstance(module, (nn.Conv1d, nn.Conv2d))


_Key = Site | tuple[nn.Module, str]
"""A site, whose output is a leaf, or a parameter of something in between."""


class Leaf(NamedTuple):
    """A tensor that gradients are taken of, and the axis of its channels."""

    values: Tensor
    axis: int

    @property
    def channels(self) -> int:
        return self.values.shape[self.axis]

    def reached(self, gradient: Tensor | None) -> Tensor:
        """Which channels a gradient says something of: bool, (channels,)."""
        if gradient is None:
            return torch.zeros(self.channels, dtype=torch.bool)
        return gradient.movedim(self.axis, 0).reshape(self.channels, -1).abs().sum(1) != 0


@dataclass(eq=False, slots=True)
class Run:
    """What one run of a block showed: inputs with their graph, and the leaves that gradients are taken of."""

    hidden: list[Leaf] = field(default_factory=list)
    entered: dict[Site, Tensor] = field(default_factory=dict)
    given: dict[Site, Leaf] = field(default_factory=dict)
    small: dict[tuple[nn.Module, str], Leaf] = field(default_factory=dict)
    output: Tensor = field(default_factory=lambda: torch.zeros(0))


def find_inner(
    block: nn.Module, call: Callable[[], Any], sites: Sequence[Site], readers: Container[str] | None = None
) -> list[Inner]:
    """Find the inner channels of a block, in order of execution.

    `call` runs the block once; `sites` are its places, `readers` the names of those that are asked about (None: all). A
    reader whose channels come from the block's input, or reach anything but this reader, has none.
    """
    sites = [site for site in sites if is_plain(site.module)]
    found = _seen(block, call, sites, readers, 0)
    for seed in range(1, MOST_RUNS):
        if not any(bool((units == UNREAD).any()) for one in found for _, units in one.makers):
            break
        found = _merged(found, _seen(block, call, sites, readers, seed))
    return found


def _seen(
    block: nn.Module, call: Callable[[], Any], sites: Sequence[Site], readers: Container[str] | None, seed: int
) -> list[Inner]:
    """What one run shows."""
    with watched(block, sites, seed, block) as run:
        run.output = _joined(call())
        found = [inner_of(site, run) for site in run.entered if readers is None or site.name in readers]
        return [one for one in found if one is not None and _is_private(one, run)]


def _merged(found: Sequence[Inner], more: Sequence[Inner]) -> list[Inner]:
    """What two runs show together: noise on a few items may leave a channel of a ReLU silent in one of them."""
    others = {(one.reader, one.count): dict(one.makers) for one in more}
    units = [others.get((one.reader, one.count), {}) for one in found]
    return [
        replace(one, makers=tuple((maker, torch.maximum(unit, seen.get(maker, unit))) for maker, unit in one.makers))
        for one, seen in zip(found, units, strict=True)
    ]


def is_plain(module: nn.Module) -> bool:
    """Return whether a module is a float layer whose channels can be taken away."""
    return isinstance(module, (nn.Linear, nn.Conv1d, nn.Conv2d)) or is_transposed(module)


def is_depthwise(module: nn.Module) -> bool:
    """Return whether a convolution works channel by channel."""
    return isinstance(module, (nn.Conv1d, nn.Conv2d)) and module.groups == module.in_channels == module.out_channels > 1


def inner_of(reader: Site, run: Run) -> Inner | None:
    """Find the units of a reader's inputs; None where there are fewer than two, or they come from outside."""
    values = run.entered[reader]
    if not values.requires_grad or getattr(reader.module, "groups", 1) > 1:
        return None
    axis = channel_axis(reader.module, values)
    width = values.shape[axis]
    every = torch.ones(width, dtype=torch.bool)
    if any(bool(reached.any()) for reached in reach(values, axis, every, run.hidden)):
        return None
    leaves: dict[_Key, Leaf] = dict([*run.given.items(), *run.small.items()])
    close = [key for key, reached in zip(leaves, reach(values, axis, every, [*leaves.values()]), strict=True)
             if bool(reached.any())]  # fmt: skip
    size = _unit_size(values, axis, [leaves[key] for key in close])
    units = _numbered(values, axis, size, [leaves[key] for key in close]) if size < width else None
    if units is None:
        return None
    makers = tuple((key, unit) for key, unit in zip(close, units, strict=True) if isinstance(key, Site))
    followers = {id(key[0]): (key[0], unit) for key, unit in zip(close, units, strict=True) if isinstance(key, tuple)}
    return Inner(reader, torch.arange(width) // size, width // size, makers, tuple(followers.values()))


def _unit_size(values: Tensor, axis: int, leaves: Sequence[Leaf]) -> int:
    """The smallest number of first channels that share no maker's channel with the rest."""
    width = values.shape[axis]
    for size in (size for size in range(1, width) if width % size == 0):
        first = torch.arange(width) < size
        sides = [reach(values, axis, side, leaves) for side in (first, ~first)]
        if not any(bool((one & other).any()) for one, other in zip(*sides, strict=True)):
            return size
    return width


def _numbered(values: Tensor, axis: int, size: int, leaves: Sequence[Leaf]) -> list[Tensor] | None:
    """The unit of each channel of each leaf, read off bit by bit; None where a channel belongs to several units."""
    units = torch.arange(values.shape[axis]) // size
    numbers = [torch.zeros(leaf.channels, dtype=torch.int64) for leaf in leaves]
    read = [torch.zeros(leaf.channels, dtype=torch.bool) for leaf in leaves]
    for bit in range(max(1, math.ceil(math.log2(int(units[-1]) + 1)))):
        is_set = (units >> bit) & 1 == 1
        ones, zeros = (reach(values, axis, side, leaves) for side in (is_set, ~is_set))
        if any(bool((one & zero).any()) for one, zero in zip(ones, zeros, strict=True)):
            return None
        numbers = [number + (one.long() << bit) for number, one in zip(numbers, ones, strict=True)]
        read = [seen | one | zero for seen, one, zero in zip(read, ones, zeros, strict=True)]
    return [torch.where(seen, number, UNREAD) for number, seen in zip(numbers, read, strict=True)]


def _is_private(one: Inner, run: Run) -> bool:
    """Whether nothing but the reader reads the units' channels: neither another site nor what the block gives."""
    others = [values for site, values in run.entered.items() if site is not one.reader] + [run.output]
    leaves = [run.given[maker] for maker, _ in one.makers]
    for values in others:
        if not values.requires_grad:
            continue
        every = torch.ones(values.shape[-1], dtype=torch.bool)
        for reached, (_, units) in zip(reach(values, -1, every, leaves), one.makers, strict=True):
            if bool((reached & (units != UNREAD)).any()):
                return False
    return True


def reach(values: Tensor, axis: int, channels: Tensor, leaves: Sequence[Leaf]) -> list[Tensor]:
    """Find which channels of each leaf these channels of a tensor depend on: bool, (channels of the leaf,)."""
    shape = [1] * values.dim()
    shape[axis] = -1
    direction = torch.randn(values.shape, generator=torch.Generator().manual_seed(1)) * channels.view(shape)
    if not leaves:
        return []
    tensors = [leaf.values for leaf in leaves]
    gradients = torch.autograd.grad(values, tensors, direction, retain_graph=True, allow_unused=True)
    return [leaf.reached(gradient) for leaf, gradient in zip(leaves, gradients, strict=True)]


def channel_axis(module: nn.Module, values: Tensor) -> int:
    """Where the channels of what a site takes or gives are: last for a linear layer, before the picture for others."""
    return values.dim() - (3 if isinstance(module, nn.Conv2d) else 2 if isinstance(module, nn.Conv1d) else 1)


@contextlib.contextmanager
def watched(root: nn.Module, sites: Sequence[Site], seed: int, block: nn.Module | None = None) -> Iterator[Run]:
    """Record a run of `root`: inputs of sites as they are; outputs of sites, and what enters a block, become leaves."""
    run = Run()
    noise = torch.Generator().manual_seed(seed)

    def like(values: Tensor) -> Tensor:
        return torch.randn(values.shape, generator=noise).requires_grad_()

    def begin(module: nn.Module, args: Any, kwargs: Any) -> Any:
        run.hidden.append(Leaf(like(args[0]), -1))
        return (run.hidden[-1].values, *args[1:]), kwargs

    def enter(site: Site, values: Tensor) -> None:
        run.entered[site] = values

    def leave(site: Site, output: Tensor) -> Tensor:
        run.given[site] = Leaf(like(output), channel_axis(site.module, output))
        return run.given[site].values

    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.enable_grad())
        if block is not None:
            stack.callback(block.register_forward_pre_hook(begin, with_kwargs=True).remove)
        for site in sites:
            if is_depthwise(site.module):
                continue
            hook = site.module.register_forward_pre_hook(lambda module, args, site=site: enter(site, args[0]))
            stack.callback(hook.remove)
            hook = site.module.register_forward_hook(lambda module, args, output, site=site: leave(site, output))
            stack.callback(hook.remove)
        standing = {id(site.module) for site in sites}
        for module in root.modules():
            if id(module) in standing and not is_depthwise(module) and not isinstance(module, nn.Embedding):
                continue  # a table may be read without being called
            for name, values in module.named_parameters(recurse=False):
                stack.callback(values.requires_grad_, values.requires_grad)
                if values.dim():
                    run.small[module, name] = Leaf(values.requires_grad_(), 0)
        yield run


def _joined(output: Any) -> Tensor:
    """All float tensors that a block gives, as one vector with its graph."""
    if isinstance(output, Tensor):
        return output.flatten()
    parts = output.values() if isinstance(output, Mapping) else output if isinstance(output, (tuple, list)) else ()
    joined = [_joined(part) for part in parts]
    return torch.cat([part for part in joined if part.numel()] or [torch.zeros(0)])
