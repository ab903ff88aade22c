"""What does not learn is run once: outputs of an encoder that stays as it is are kept for every item.

A student whose decoder alone learns would hear every clip anew at every step. Items are run one by one, in order,
before the training: so a resumed run keeps the same numbers to the last bit. Where the teacher has the same encoder,
what it gives while the teacher is asked is kept, and nothing is run for it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence, Set
from functools import partial
from typing import Any, TypeVar

import psutil
import torch
from torch import Tensor, nn

from penjing.models.family import Model
from penjing.models.tower import Batch, Tower
from penjing.values import Tell

T = TypeVar("T")

MOST = 0.5
"""Of the memory that is free, so much may be kept by all processes of a machine. Where that is not enough, blocks run
at every step."""


class Kept:
    """Outputs of the last block of towers that do not learn, by item and by the shape of what the block is given.

    While some items are `asked`, the blocks before the last hand on what they are given, and the last gives what was
    kept; where an item is not known, all run as ever.
    """

    def __init__(self, towers: Sequence[Tower], known: Kept | None = None) -> None:
        self.towers = towers
        self._outputs: dict[tuple[Any, ...], Tensor] = known._outputs if known else {}
        self._asked: tuple[int, ...] = ()
        self._fills = False

    def __bool__(self) -> bool:
        """Whether anything is kept."""
        return bool(self._outputs)

    def forget(self) -> None:
        """Let all blocks run again."""
        self._outputs.clear()

    @contextlib.contextmanager
    def asked(self, items: Sequence[Batch]) -> Iterator[None]:
        """These items go through the model now."""
        self._asked = tuple(map(id, items))
        try:
            yield
        finally:
            self._asked = ()

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """Stand in for the blocks until this ends."""
        with contextlib.ExitStack() as stack:
            for tower in self.towers:
                for block in tower.blocks:
                    stack.enter_context(_replaced(block, partial(self._forward, tower, block)))
            yield

    @torch.no_grad()
    def each(self, ask: Callable[[Sequence[Batch]], list[T]], items: Sequence[Batch]) -> Iterator[T]:
        """Ask about every item alone and keep what passes; nothing, where that is more than there is room for."""
        keeps, sharing = bool(self.towers), int(os.environ.get("LOCAL_WORLD_SIZE", "1"))  # processes, by their launcher
        most_bytes = MOST * psutil.virtual_memory().available / sharing
        for place, item in enumerate(items, 1):
            self._fills = keeps
            (found,) = ask([item])
            self._fills = False
            yield found
            size_bytes = sum(output.nbytes for output in self._outputs.values())
            if keeps and (not size_bytes or size_bytes / place * len(items) > most_bytes):
                self.forget()
                keeps = False

    def fill(self, ask: Callable[[Sequence[Batch]], list[Any]], items: Sequence[Batch], tell: Tell) -> None:
        """Run all items, unless they are kept already."""
        if self.towers and not self:
            for place, _ in enumerate(self.each(ask, items), 1):
                tell("run what does not learn", place, len(items))
                if not self:
                    tell("nothing is kept of what does not learn: it runs at every step", 0, 0)
                    break

    def _forward(self, tower: Tower, block: nn.Module, whole: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        given = args[0] if args and isinstance(args[0], Tensor) else None
        keys = [(tower.name, item, *given.shape[1:]) for item in self._asked] if given is not None else []
        if given is not None and not self._fills and keys and all(key in self._outputs for key in keys):
            if block is not tower.blocks[-1]:
                return given
            kept = [self._outputs[key] for key in keys]
            return kept[0] if len(kept) == 1 else torch.cat(kept)
        output = whole(*args, **kwargs)
        alike = isinstance(output, Tensor) and given is not None and given.shape == output.shape
        if self._fills and keys and block is tower.blocks[-1] and alike:
            self._outputs[keys[0]] = output.clone()
        elif self._fills and not alike:
            self._fills = False  # blocks that do more than turn hidden states into hidden states
        return output


def frozen_towers(model: Model) -> list[Tower]:
    """Encoders of which nothing learns: what they give an item never changes."""
    learning = {name for name, value in model.net.named_parameters() if value.requires_grad}
    return [
        tower for tower in model.towers if tower.role == "encoder" and tower.blocks and not _learns(tower, learning)
    ]


def same_towers(model: Model, towers: Sequence[Tower]) -> list[Tower]:
    """Towers of another model that are the same as these: blocks of the same kind with equal weights."""
    others = {tower.name: tower for tower in model.towers}
    return [others[tower.name] for tower in towers if tower.name in others and _same(tower, others[tower.name])]


def _same(one: Tower, other: Tower) -> bool:
    kinds, names, values = [], [], []
    for tower in (one, other):
        state = [pair for block in tower.blocks for pair in block.state_dict().items()]
        kinds.append([type(module) for block in tower.blocks for module in block.modules()])
        names.append([name for name, _ in state])
        values.append([value for _, value in state])
    return kinds[0] == kinds[1] and names[0] == names[1] and all(map(torch.equal, *values))


def _learns(tower: Tower, learning: Set[str]) -> bool:
    """Whether a parameter of its own does, or what learns in the place of one: scales of codes, adapters."""
    inside = (value for site in tower.sites.values() for value in site.module.parameters())
    return bool(tower.parameter_names & learning) or any(value.requires_grad for value in inside)


@contextlib.contextmanager
def _replaced(block: nn.Module, forward: Callable[..., Any]) -> Iterator[None]:
    """Let a block's forward be called by another function, which is given it first."""
    block.forward = partial(forward, block.forward)
    try:
        yield
    finally:
        del block.forward
