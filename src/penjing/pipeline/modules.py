"""Compress any torch module in Python: a forward, batches of its inputs, a metric; no checkpoint, no task."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from penjing.artifact.checkpoint import WEIGHTS, save_network
from penjing.artifact.export import export_component
from penjing.errors import DataError, RecipeError
from penjing.methods import Aids
from penjing.models.anything import batch_of, model_around
from penjing.models.family import Model
from penjing.models.open import refreshed
from penjing.models.tower import Batch
from penjing.recipe import Recipe, check_fit, named, recipe_of
from penjing.values import Note, Tell, silent

Measure = Callable[[nn.Module], float]
SELECTED = 5
"""Every so many-th batch is kept apart from calibration, to choose by."""


@dataclass(frozen=True, eq=False, slots=True)
class Compressed:
    """A compressed module, what was done to every site, and the metric before and after.

    `module` is a plain torch module: it can be trained further (masks hold), compressed once more, saved and exported.
    """

    module: nn.Module
    notes: tuple[Note, ...]
    before: float | None
    after: float | None
    model: Model

    @property
    def size_bytes(self) -> int:
        """Bytes of its weights as `save` writes them, measured on the disk."""
        with tempfile.TemporaryDirectory() as folder:
            return (self.save(folder) / WEIGHTS).stat().st_size

    def save(self, folder: str | Path) -> Path:
        """Write weights as safetensors, and how the layers that hold them are rebuilt; returns the folder."""
        place = Path(folder)
        save_network(self.module, None, place)
        return place

    def export(self, folder: str | Path) -> Path:
        """Write `model.onnx`, which both engines run; returns its path."""
        place = Path(folder)
        place.mkdir(parents=True, exist_ok=True)
        (component,) = self.model.family.components(self.module)
        return export_component(component, place)


def compress_module(
    module: nn.Module, recipe: Any, *, batches: Iterable[Any], metric: Measure | None = None, tell: Tell = silent
) -> Compressed:
    """Run a recipe on a copy of a module. `recipe` is a list of steps, a file or a built-in name.

    `batches` are inputs as the module's forward takes them: tensors, tuples of tensors, or mappings by name.
    """
    chosen = recipe_of(recipe)
    net = copy.deepcopy(module).eval()
    given = [batch_of(net, one) for one in batches]
    if not given:
        raise DataError("no batches", hint="give at least one batch of the module's inputs")
    model = model_around(net, given[0])
    chosen.check(model.towers)
    check_fit(chosen, model)
    before = _measured(metric, net)
    source = copy.deepcopy(net) if any(step.method.learns for step in chosen.steps) else net
    model, notes = _run(model, chosen, given, lambda: model_around(source, given[0]), tell)
    if not any(note.is_changed for note in notes):
        reasons = sorted({note.skipped for note in notes if note.skipped}) or ["no step found a site"]
        raise RecipeError(f"nothing was changed: {'; '.join(reasons)}", hint="choose other methods or sites")
    after = _measured(metric, model.net)
    return Compressed(model.net, tuple(notes), before, after, model)


@torch.no_grad()
def _measured(metric: Measure | None, net: nn.Module) -> float | None:
    return None if metric is None else float(metric(net))


def _run(
    model: Model, recipe: Recipe, given: Sequence[Batch], teacher: Callable[[], Model], tell: Tell
) -> tuple[Model, list[Note]]:
    select = given[::SELECTED]
    calibrate = [one for place, one in enumerate(given) if place % SELECTED] or given
    notes: list[Note] = []
    with tempfile.TemporaryDirectory() as scratch:
        for place, step in enumerate(recipe.steps, 1):
            tell(step.method.name, 0, 0)
            aids = Aids(model, select, recipe.seed, Path(scratch), tell, teacher=teacher)
            with named(place, step.method):
                notes += step.method.apply_all(step.targets(model.towers), calibrate, aids)
            if step.method.restructures:
                model = refreshed(model)
    return model, notes
