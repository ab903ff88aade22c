"""Items of one row each, put through a model together: as one batch where their shapes allow it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from penjing.models.tower import Batch

Signature = tuple[Any, ...]


class Watched(Mapping[str, Tensor]):
    """A batch that remembers which of its tensors were read."""

    def __init__(self, batch: Batch) -> None:
        self._batch = batch
        self.read: set[str] = set()

    def __getitem__(self, key: str) -> Tensor:
        found = self._batch[key]
        self.read.add(key)
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._batch)

    def __len__(self) -> int:
        return len(self._batch)


def kind_of(item: Batch) -> Signature:
    """What sort of item it is: which inputs it has, and the values of those without a batch axis (flags)."""
    return tuple(
        (key, tuple(value.flatten().tolist()) if value.dim() < 2 else value.dim()) for key, value in item.items()
    )


def firsts(items: Sequence[Batch]) -> list[int]:
    """Where the first item of every sort is: of those that have the same inputs and flags, whatever their labels."""
    places: dict[Signature, int] = {}
    for place, item in enumerate(items):
        flags = [
            (key, *value.tolist()) for key, value in item.items() if value.dtype == torch.bool and value.dim() == 1
        ]
        places.setdefault((*item, *flags), place)
    return [*places.values()]


def spread(items: Sequence[Batch], count: int) -> list[Batch]:
    """About so many items, evenly spaced, and the first of every sort."""
    places = {*range(0, len(items), max(1, len(items) // count)), *firsts(items)}
    return [items[place] for place in sorted(places)]


def shape_of(item: Batch, keys: Sequence[str], padded: frozenset[str] = frozenset()) -> Signature:
    """What two items must have in common to be joined; of what is padded, the last axis may differ."""
    shapes = []
    for key in keys:
        value = item[key]
        shape = tuple(value.shape[:-1] if key in padded else value.shape)
        shapes.append((key, shape, tuple(value.flatten().tolist()) if value.dim() < 2 else ()))
    return tuple(shapes)


def joined(items: Sequence[Batch], keys: Sequence[str], padded: frozenset[str] = frozenset()) -> Batch:
    """One batch of items of one shape; what is padded gets zeros behind."""
    found = {}
    for key in keys:
        values = [item[key] for item in items]
        if key in padded:
            longest = max(value.shape[-1] for value in values)
            values = [torch.nn.functional.pad(value, (0, longest - value.shape[-1])) for value in values]
        found[key] = values[0] if values[0].dim() < 2 else torch.cat(values)
    return found


def grouped(shapes: Sequence[Signature]) -> list[list[int]]:
    """Places of equal shapes, in order of first appearance."""
    groups: dict[Signature, list[int]] = {}
    for place, shape in enumerate(shapes):
        groups.setdefault(shape, []).append(place)
    return [*groups.values()]
