"""What narrowing inner channels and shared ones have in common: scores of units, and how the report tells of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from penjing.models.tower import Site
from penjing.tensor.importance import by_unit, output_energy, squared_norms
from penjing.values import Note

Score = Literal["magnitude", "energy", "taylor", "cross_modal"]
Numbered = Sequence[tuple[Site, Tensor]]
"""Sites with the unit of each channel that they make, or read: (channels,), -1 for one that is no unit's."""


def magnitude(makers: Numbered, readers: Numbered, count: int) -> Tensor:
    """Squared norms of all weights that a unit has, each layer's counted as much: (count,)."""
    parts = [(squared_norms(maker.weight, _made(maker)), units) for maker, units in makers]
    parts += [(squared_norms(reader.weight, 1), units) for reader, units in readers]
    sums = [by_unit(norms, units, count) for norms, units in parts]
    return torch.stack([one / one.mean().clamp_min(1e-12) for one in sums]).sum(0)


def energy(readers: Numbered, seen: Mapping[str, Tensor], count: int) -> Tensor:
    """What units add to the outputs of those that read them, each reader's counted as much: (count,).

    `seen` is Σ x² of a reader's inputs (in,), by its name; readers without are left out.
    """
    parts = [(output_energy(one.weight, seen[one.name]), units) for one, units in readers if one.name in seen]
    sums = [by_unit(added, units, count) for added, units in parts]
    return torch.stack([one / one.mean().clamp_min(1e-12) for one in sums]).sum(0) if sums else torch.zeros(count)


def _made(site: Site) -> int:
    """The axis of a weight, as a site shows it, on which what it makes lies: a table's rows are words."""
    return 1 if site.kind in ("embedding", "position") else 0


def joined(earlier: Note | None, note: Note, shape: tuple[int, ...]) -> Note:
    """One note of a site that reads channels and makes others, from the shape that it had."""
    if note.skipped:
        return note if earlier is None or earlier.skipped else earlier
    error = max(note.error, earlier.error if earlier else 0.0)
    return replace(note, error=error, change=f"{shape_text(shape)} → {note.change}")


def shape_text(shape: tuple[int, ...]) -> str:
    """out × in, as a person reads it."""
    return " × ".join(map(str, shape))
