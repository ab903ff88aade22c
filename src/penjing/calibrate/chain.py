"""How the blocks of a tower hang together: what each is called with, and what of that the block before gave.

Learned from a real run, tensor by tensor, so no model is known here: T5's first block hands a position bias to all
others, Gemma's blocks get masks of two kinds, CLAP merges patches between some.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from penjing.models.tower import Batch, Tower


@dataclass(frozen=True, eq=False, slots=True)
class Call:
    """The arguments of one call of a block, as they were before it ran."""

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]

    @torch.no_grad()
    def on(self, block: nn.Module) -> Any:
        """Call the block; what it changes in its arguments (a key-value cache grows) is forgotten."""
        copied = self.copy()
        return block(*copied.args, **copied.kwargs)

    def copy(self) -> Call:
        """The same call, with objects that a block may change copied."""
        return Call(tuple(map(_copied, self.args)), {name: _copied(value) for name, value in self.kwargs.items()})


@dataclass(frozen=True, slots=True)
class Wire:
    """Stands for a tensor among a block's arguments: number `place` of what the block before gave."""

    place: int


class Chain:
    """The blocks of a tower on one batch: each one's arguments, with wires where the block before feeds it.

    A block that nothing of the block before reaches as it is breaks the chain, and so do blocks that are not called
    once each and in order: what they see is learned from further runs of the whole tower, which is slower.
    """

    def __init__(self, tower: Tower, batch: Batch) -> None:
        self._tower, self._batch = tower, batch
        self._known = _learn(tower, batch)
        self._given: list[Any] = []

    def calls(self, place: int) -> list[Call]:
        """What a block is called with, now that the blocks before it are what they are."""
        known = self._known[place]
        if known is None:
            return real_calls(self._tower, self._tower.blocks[place], self._batch)
        kwargs = zip(known.kwargs, self._follow(known.kwargs.values()), strict=True)
        return [Call(tuple(self._follow(known.args)), dict(kwargs))]

    def advance(self, place: int, calls: list[Call]) -> None:
        """Run a block as the caller left it; what it gives feeds the next one."""
        following = place + 1
        if following < len(self._known) and self._known[following] is not None:
            self._given = _parts(calls[0].on(self._tower.blocks[place]))

    def _follow(self, values: Iterable[Any]) -> list[Any]:
        return [self._given[value.place] if isinstance(value, Wire) else value for value in values]


@torch.no_grad()
def real_calls(tower: Tower, block: nn.Module, batch: Batch) -> list[Call]:
    """Run the whole tower and return every call of one block."""
    found: list[Call] = []
    hook = block.register_forward_pre_hook(
        lambda module, args, kwargs: found.append(Call(args, kwargs).copy()), with_kwargs=True
    )
    try:
        tower.run(batch)
    finally:
        hook.remove()
    return found


@torch.no_grad()
def _learn(tower: Tower, batch: Batch) -> list[Call | None]:
    """Run the tower once; per block its call with wires, or None where that cannot be foreseen."""
    known: list[Call | None] = [None] * len(tower.blocks)
    order: list[int] = []
    given: list[Any] = []

    def enter(place: int, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        call = Call(tuple(_wire(args, given)), dict(zip(kwargs, _wire(kwargs.values(), given), strict=True)))
        if not order or any(isinstance(value, Wire) for value in (*call.args, *call.kwargs.values())):
            known[place] = call.copy()
        order.append(place)

    def leave(module: nn.Module, args: Any, output: Any) -> None:
        given[:] = _parts(output)

    with contextlib.ExitStack() as hooks:
        for place, block in enumerate(tower.blocks):
            hook = block.register_forward_pre_hook(
                lambda module, args, kwargs, place=place: enter(place, args, kwargs), with_kwargs=True
            )
            hooks.callback(hook.remove)
            hooks.callback(block.register_forward_hook(leave).remove)
        tower.run(batch)
    return known if order == [*range(len(known))] else [None] * len(known)


def _copied(value: Any) -> Any:
    """A copy of whatever is no tensor, module or plain value."""
    fixed = (Tensor, nn.Module, Wire, bool, int, float, str, tuple, torch.dtype, torch.device, type(None))
    return value if isinstance(value, fixed) else copy.deepcopy(value)


def _wire(values: Iterable[Any], given: list[Any]) -> list[Any]:
    """Put a wire in the place of every tensor that the block before gave."""
    places = {id(part): place for place, part in enumerate(given) if isinstance(part, Tensor)}
    return [Wire(places[id(value)]) if id(value) in places else value for value in values]


def _parts(output: Any) -> list[Any]:
    """What a block gives, one by one."""
    if isinstance(output, Mapping):
        return [*output.values()]
    return [*output] if isinstance(output, (tuple, list)) else [output]
