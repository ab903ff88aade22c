"""What the steps of a run will take, said before they begin: a run of every tower is timed, the rest is counted."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor, nn

from penjing.calibrate.walk import sites_within
from penjing.calibrate.wiring import enter
from penjing.methods import Method
from penjing.models.family import Model
from penjing.models.tower import Batch, Tower
from penjing.pipeline.steps import Calibration
from penjing.recipe import Recipe
from penjing.report.numbers import bytes_text, seconds_text
from penjing.teach.cache import check_room

ROUNDING_S_PER_WEIGHT = 0.3e-6
"""Of the methods that settle weights one after the other; measured on SmolLM2-135M with two threads."""
KEPT_OF_AN_ITEM = 3
"""Hidden states held of every calibration item: what a block is called with, what it gives, what is on its way."""


@dataclass(frozen=True, slots=True)
class Expected:
    """Estimates of the wall time of all steps and of the most memory that they need."""

    seconds: float
    peak_rss_bytes: int

    def as_text(self) -> str:
        """The two in a sentence."""
        return f"the steps will take about {seconds_text(self.seconds)} and {bytes_text(self.peak_rss_bytes)}"

    def as_json(self) -> dict[str, float]:
        """As the report keeps it, beside what the steps took."""
        return {"expected_seconds": self.seconds, "expected_peak_rss_bytes": self.peak_rss_bytes}


@torch.no_grad()
def expect(model: Model, recipe: Recipe, calibration: Calibration) -> Expected:
    """Time one run of every tower that a step with data works on, and count the rest from it."""
    seconds, extra_bytes = 0.0, 0
    once: dict[str, float] = {}
    for step in recipe.steps:
        seconds += step.method.takes()
        for tower in step.targets(model.towers):
            weights = sum(site.weight_count for site in step.method.chosen(tower))
            extra_bytes = max(extra_bytes, _largest_site(tower))
            if step.method.needs_data and calibration.batches:
                example = calibration.batches[0]
                if tower.name not in once:
                    once[tower.name] = _run_seconds(tower, example)
                count = calibration.count_of(step.method)
                seconds += once[tower.name] * step.method.runs(count)
                seconds += ROUNDING_S_PER_WEIGHT * weights
                extra_bytes = max(extra_bytes, _kept_bytes(tower, example, count) + _moments(tower, step.method))
    return Expected(seconds, psutil.Process().memory_info().rss + extra_bytes)


def check_disk(model: Model, recipe: Recipe, calibration: Calibration, folder: Path) -> None:
    """Refuse, before any step, what the disk has no room for."""
    batches, per_row, held = calibration.batches, 1.0, 0
    if any(step.method.learns for step in recipe.steps):  # no other step keeps anything, so rows need not be read
        rows = calibration.rows[0]
        per_row, held = len(batches) / len(rows) if rows else 1.0, len(calibration.select)
    needed: dict[tuple[str, str | None], float] = {}  # steps that read the same keep it once
    for step in recipe.steps:
        name, method = step.method.name, step.method
        size_bytes = method.keeps_bytes(model, step.targets(model.towers), batches, per_row, held)
        needed[name, method.reads] = max(size_bytes, needed.get((name, method.reads), 0.0))
        check_room(folder, int(sum(needed.values())), f"step {name}: what it keeps while it works")


def _run_seconds(tower: Tower, batch: Batch) -> float:
    """Wall time of one run, after one that warms up."""
    tower.run(batch)
    start = time.perf_counter()
    tower.run(batch)
    return time.perf_counter() - start


def _kept_bytes(tower: Tower, batch: Batch, items: int) -> int:
    """Bytes of hidden states while blocks are fed one by one."""
    calls = enter(tower, batch, 1) if tower.blocks else []
    return KEPT_OF_AN_ITEM * items * sum(_bytes(value) for call in calls for _, value in call.items())


def _moments(tower: Tower, method: Method) -> int:
    """Bytes of the second moments of one block's inputs, the largest block's."""
    chosen = {site.name for site in method.chosen(tower)}
    sizes = [0]
    for block in tower.blocks:
        sites = [site for name, site in sites_within(tower, block).items() if name in chosen]
        sizes.append(sum(4 * site.weight.flatten(1).shape[1] ** 2 for site in sites))
    return max(sizes)


def _largest_site(tower: Tower) -> int:
    """Bytes of rounding the largest site: a few copies of it in float."""
    return max((3 * 4 * site.weight_count for site in tower.sites.values()), default=0)


def _bytes(value: Any) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in _tensors(value))


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor) and not isinstance(value, nn.Parameter):
        yield value
    elif isinstance(value, (tuple, list)):
        for part in value:
            yield from _tensors(part)
