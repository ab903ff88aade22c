"""How the blocks of a tower hang together: where every argument of every block comes from.

Learned from a real run, value by value, so no model is known here: T5's first block hands a position bias to all
others, Gemma's blocks get masks of two kinds, CLAP merges patches between some.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from penjing.calibrate.call import FIXED, Call, Key
from penjing.models.tower import Batch, Tower


@dataclass(frozen=True, slots=True)
class Wire:
    """Number `place` of what the block before gave."""

    place: int


@dataclass(frozen=True, slots=True)
class Again:
    """The very value that an earlier block was called with."""

    block: int
    key: Key


@dataclass(frozen=True, slots=True)
class Own:
    """A value first met at this block."""


@dataclass(frozen=True, slots=True)
class Constant:
    """A plain value that is this block's alone, such as its number."""

    value: Any


Source = Wire | Again | Own | Constant


@dataclass(frozen=True, slots=True)
class Wiring:
    """Per block the source of each argument, or None where its calls cannot be foreseen from the block before."""

    blocks: tuple[Mapping[Key, Source] | None, ...]
    kinds: tuple[Any, ...] = ()
    """What kind of values the first blocks were called with, as far as one of them had some of its own."""

    @property
    def asked(self) -> int:
        """How many blocks a run must enter to show all values of their own."""
        return len(self.kinds)


class _EnteredError(Exception):
    """Ends a run that has shown enough."""


@torch.no_grad()
def enter(tower: Tower, batch: Batch, count: int) -> list[Call]:
    """Run a tower until its first `count` blocks have been entered; the call of each."""
    calls: list[Call] = []

    def note(module: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        calls.append(Call(args, kwargs).copy())
        if len(calls) == count:
            raise _EnteredError

    with contextlib.ExitStack() as hooks, contextlib.suppress(_EnteredError):
        for block in tower.blocks[:count]:
            hooks.callback(block.register_forward_pre_hook(note, with_kwargs=True).remove)
        tower.run(batch)
    return calls


def kinds_of(calls: Sequence[Call]) -> tuple[Any, ...]:
    """What tells calls apart that hang together in different ways: a mask is there for one batch, not for another."""
    return tuple(tuple((key, _kind(value)) for key, value in call.items()) for call in calls)


@torch.no_grad()
def learn(tower: Tower, batch: Batch) -> tuple[Wiring, list[Call]]:
    """Run the tower once and find where every argument came from; also what `enter` would show of this batch."""
    order: list[int] = []
    real: list[Call] = []  # held to the end, so that no value's identity is given to another
    calls: list[Call] = []
    given: list[list[Any]] = []

    def begin(place: int, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        order.append(place)
        real.append(Call(args, dict(kwargs)))
        calls.append(real[-1].copy())

    with contextlib.ExitStack() as hooks:
        for place, block in enumerate(tower.blocks):
            hook = block.register_forward_pre_hook(
                lambda module, args, kwargs, place=place: begin(place, args, kwargs), with_kwargs=True
            )
            hooks.callback(hook.remove)
            hooks.callback(block.register_forward_hook(lambda module, args, out: given.append(parts(out))).remove)
        tower.run(batch)
    if order != [*range(len(tower.blocks))]:
        return Wiring((None,) * len(tower.blocks)), []
    blocks = _sources(real, given)
    asked = 1 + max(place for place, known in enumerate(blocks) if known and Own() in known.values())
    return Wiring(tuple(blocks), kinds_of(calls[:asked])), calls[:asked]


def parts(output: Any) -> list[Any]:
    """What a block gives, one by one."""
    if isinstance(output, Mapping):
        return [*output.values()]
    return [*output] if isinstance(output, (tuple, list)) else [output]


def _sources(real: Sequence[Call], given: Sequence[Sequence[Any]]) -> list[Mapping[Key, Source] | None]:
    blocks: list[Mapping[Key, Source] | None] = []
    earlier: set[int] = set()
    for place, call in enumerate(real):
        before = given[place - 1] if place else ()
        wires = {id(part): Wire(number) for number, part in enumerate(before) if isinstance(part, Tensor)}
        found = {key: wires.get(id(value)) or _known(real, blocks, key, value) for key, value in call.items()}
        stale = any(id(value) in earlier and id(value) not in wires for _, value in call.items())
        wired = place == 0 or any(isinstance(source, Wire) for source in found.values())
        blocks.append(found if wired and not stale else None)
        earlier |= wires.keys()
    return blocks


def _known(real: Sequence[Call], blocks: Sequence[Mapping[Key, Source] | None], key: Key, value: Any) -> Source:
    """Where a value that the block before did not give comes from; an argument of the same name is asked first."""
    if not isinstance(value, FIXED):
        return Own()  # a block may have changed it meanwhile
    for block, known in enumerate(blocks):
        same = [other for other, source in (known or {}).items() if source == Own() and real[block][other] is value]
        if same and (key in same or not _is_plain(value)):
            return Again(block, key if key in same else same[0])
    return Constant(value) if _is_plain(value) and blocks else Own()


def _is_plain(value: Any) -> bool:
    return isinstance(value, (bool, int, float, str, torch.dtype, torch.device, type(None)))


def _kind(value: Any) -> Any:
    if isinstance(value, Tensor):
        return "tensor", value.dim()
    if isinstance(value, tuple):
        return tuple(map(_kind, value))
    return value if _is_plain(value) else type(value).__name__
