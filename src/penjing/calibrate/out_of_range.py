"""Shares of activations that lie outside of the ranges that static int8 layers were calibrated to."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeGuard

import torch
from torch import Tensor, nn

from penjing.layers.static import Static, StaticInput
from penjing.models.tower import Batch, Tower


@dataclass(slots=True)
class _Counter:
    """Values of one site's inputs, and how many of them its grid clips."""

    grid: StaticInput
    outside: int = 0
    total: int = 0

    def count(self, module: nn.Module, args: tuple[Tensor, ...]) -> None:
        """Count one input: what lies more than half a step beyond the ends of the grid is clipped."""
        scale, zero, top = self.grid.grid
        low, high = (-zero - 0.5) * scale, (top - zero + 0.5) * scale
        values = args[0]
        self.outside += int(((values < low) | (values > high)).sum())
        self.total += values.numel()


@torch.no_grad()
def out_of_range_shares(tower: Tower, batches: Iterable[Batch]) -> dict[str, float]:
    """Run a tower and return site -> share of its input values outside of the calibrated range.

    Args:
        tower: a compressed tower; sites that are not static int8 are left out.
        batches: inputs of the tower.
    """
    counters: dict[str, _Counter] = {}
    with contextlib.ExitStack() as hooks:
        for name, site in tower.sites.items():
            if _has_range(site.module):
                counters[name] = _Counter(site.module.input)
                handle = site.module.input.register_forward_pre_hook(counters[name].count)
                hooks.callback(handle.remove)
        if counters:
            for batch in batches:
                tower.run(batch)
    return {name: counter.outside / counter.total for name, counter in counters.items() if counter.total}


def has_ranges(towers: Sequence[Tower]) -> bool:
    """Return whether any site of the towers has a calibrated range."""
    return any(_has_range(site.module) for tower in towers for site in tower.sites.values())


def _has_range(module: nn.Module) -> TypeGuard[Static]:
    """Whether a layer's input has a range of its own that was calibrated: rows of `dynamic_int8` bring theirs."""
    return isinstance(module, Static) and isinstance(module.input, StaticInput)
