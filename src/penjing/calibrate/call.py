"""The arguments of one call of a block, and how to see those of a real run."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from penjing.models.tower import Batch, Tower

Key = int | str
"""A place among the positional arguments, or the name of an argument."""

FIXED = (Tensor, nn.Module, bool, int, float, str, tuple, torch.dtype, torch.device, type(None))
"""Kinds of values that no block changes in place."""


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

    def __getitem__(self, key: Key) -> Any:
        """One argument."""
        return self.args[key] if isinstance(key, int) else self.kwargs[key]

    def items(self) -> Iterator[tuple[Key, Any]]:
        """Every argument by its place or name."""
        yield from enumerate(self.args)
        yield from self.kwargs.items()


def real_calls(tower: Tower, block: nn.Module, batch: Batch) -> list[Call]:
    """Run the whole tower and return every call of one block."""
    found: list[Call] = []
    hook = block.register_forward_pre_hook(
        lambda module, args, kwargs: found.append(Call(args, kwargs).copy()), with_kwargs=True
    )
    try:
        with torch.no_grad():
            tower.run(batch)
    finally:
        hook.remove()
    return found


def _copied(value: Any) -> Any:
    return value if isinstance(value, FIXED) else copy.deepcopy(value)
