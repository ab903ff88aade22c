"""Compress any torch module in Python: a forward, batches of its inputs, a metric; no checkpoint, no task."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from penjing.artifact.checkpoint import WEIGHTS, save_network
from penjing.artifact.export import export_component
from penjing.errors import DataError, ModelError, RecipeError
from penjing.methods import Aids
from penjing.models.anything import FIRST_LINE, batches_of, model_around, output_names
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
        """Write `model.onnx`, which both engines run; returns its path.

        Its inputs have the names of the first batch, with their shapes but for the first axis, which is the batch. Its
        outputs have the names of a `ModelOutput`'s tensors; a bare tensor is `output`.

        Raises:
            ModelError: torch cannot trace the module.
        """
        place = Path(folder)
        place.mkdir(parents=True, exist_ok=True)
        (component,) = self.model.family.components(self.module)
        try:
            return export_component(component, place)
        except torch.onnx.OnnxExporterError as error:
            reason = " ".join(str(error.__cause__ or error).split())[:FIRST_LINE]
            raise ModelError(
                f"{type(self.module).__name__} cannot be exported to ONNX: {reason}",
                hint="`save` writes its weights; torch.export.export(module, inputs) shows what it cannot trace",
            ) from error


def check_options(options: Mapping[str, Any]) -> None:
    """Refuse options of an artifact, which a module in memory is compressed without.

    Raises:
        RecipeError: one of them is set.
    """
    used = [name for name, value in options.items() if value is not None and value is not False and value != ()]
    if used:
        raise RecipeError(
            f"{used[0]} has no effect on a module that is compressed with batches and metric",
            hint="leave it away; a seed belongs in the recipe: {'seed': 0, 'steps': […]}",
        )


def compress_module(
    module: nn.Module, recipe: Any, *, batches: Iterable[Any], metric: Measure | None = None, tell: Tell = silent
) -> Compressed:
    """Run a recipe on a copy of a module. `recipe` is a list of steps, a file or a built-in name.

    `batches` are inputs as the module's forward takes them: tensors, tuples of tensors, or mappings by name.

    Raises:
        RecipeError: no recipe, one that does not fit, or one that changes nothing.
        DataError: no module, no batches, or batches that the module cannot be called with.
    """
    if not isinstance(module, nn.Module):
        raise DataError(
            f"batches and metric are for a torch module, not for a {type(module).__name__}",
            hint="give the module itself, or leave them away and name data: compress(folder, out, data=…)",
        )
    if recipe is None:
        raise RecipeError("no recipe named", hint='give steps: compress(module, ["rtn"], batches=[…])')
    if metric is not None and not callable(metric):
        raise RecipeError(f"metric is a {type(metric).__name__}", hint="give a function from a module to a number")
    chosen = recipe_of(recipe)
    net = copy.deepcopy(module).eval()
    given = batches_of(net, batches)
    model = model_around(net, given[0])
    output_names(net, given[0])
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
    if metric is None:
        return None
    value = metric(net)
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(
            f"the metric returned a {type(value).__name__}, not a number", hint="return a float or a scalar tensor"
        ) from error


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
