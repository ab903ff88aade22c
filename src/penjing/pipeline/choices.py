"""What a run will do, decided once the model is open and before any work: recipe, formats, goals, rows to judge by."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from penjing.data.media import check_media
from penjing.data.row import Row
from penjing.errors import RecipeError
from penjing.evaluate.catalogue import RESOURCES, SHIFTED
from penjing.evaluate.goals import Goal, default_goals
from penjing.evaluate.tolerance import OUT_OF_RANGE, shift_goals
from penjing.judge.quality import check_answers, metric_names
from penjing.methods.base import RangeCalibrated
from penjing.models.family import Component, Model
from penjing.pipeline.graphs import check_front_end, is_too_large
from penjing.pipeline.job import Format, Job
from penjing.recipe import Recipe, check_fit, default_recipe, read_recipe


@dataclass(frozen=True, slots=True)
class Choices:
    """The recipe to run, the formats to write, the goals to hold the result to, the rows to judge by.

    `in_engine`: the graphs are measured in an engine; otherwise the network is, in PyTorch.
    """

    recipe: Recipe
    formats: tuple[Format, ...]
    goals: tuple[Goal, ...]
    rows: Sequence[Row]
    in_engine: bool
    shift: bool = False
    """whether the rows are judged once more under shift"""
    no_graphs: str = ""
    """why a run that named no format writes a checkpoint and no graphs; empty where it writes graphs"""


def choose(job: Job, model: Model) -> Choices:
    """Decide, and refuse what cannot be done to this model or measured of it."""
    wants_graphs = model.family.task is not None and set(job.formats) != {"checkpoint"}
    components = model.family.components(model.net) if wants_graphs else []
    formats = choose_formats(job, model, components)
    recipe = choose_recipe(job, model, formats)
    in_engine = "onnx" in formats and job.engine.name != "torch"
    task = model.family.task
    if task and ("onnx" in formats or job.parts):
        check_front_end(model)
    rows = job.parts.judge if job.parts and task else ()
    altering = next((step.method for step in recipe.steps if step.method.alters_prompts), None)
    if altering and not rows:
        raise RecipeError(
            f"{altering.name} {altering.alters_prompts}, so outputs cannot be compared",
            hint="give --data to judge the task",
        )
    metrics: tuple[str, ...]
    if task and job.parts:
        check_media(model.settings, [row for part in job.parts for row in part])
    if task and rows:
        check_answers(task, rows, model.settings.get("labels", ()))
        metrics = metric_names(task, rows)
    else:
        metrics = _output_metrics(model, components if in_engine else None)
    shift = bool(task and rows) and not job.quick
    goals = job.goals or recipe.goals or default_goals([name for name in metrics if rows or "/" not in name])
    ranges = any(isinstance(step.method, RangeCalibrated) for step in recipe.steps)
    measured = (*metrics, *(SHIFTED + name for name in metrics)) if shift else metrics
    measured = (*measured, OUT_OF_RANGE) if shift and ranges else measured
    for goal in goals:
        _check_shift(goal, judged=bool(rows), quick=job.quick)
        goal.require(measured)
        _check_resource(goal, judged=bool(rows), in_engine=in_engine)
    if shift:
        goals = (*goals, *shift_goals(goals, ranges=ranges))
    return Choices(
        recipe, formats, goals, rows, in_engine, shift, "" if job.formats else why_no_graphs(model, components)
    )


def _output_metrics(model: Model, components: Sequence[Component] | None) -> tuple[str, ...]:
    """What outputs are compared by: overall, and of several graphs (without any, in PyTorch, towers) each by itself."""
    if components is None:
        parts, has_logits = [tower.name for tower in model.towers if tower.blocks], False
    else:
        parts = [component.name for component in components]
        has_logits = any("logits" in component.outputs for component in components)
    each = [f"{part}/cosine" for part in parts] if len(parts) > 1 else []
    return ("cosine", *(["logit_kl"] if has_logits else []), *each)


def choose_recipe(job: Job, model: Model, formats: Sequence[Format]) -> Recipe:
    """The recipe asked for, or the task's default; without data one that needs none. Checked against the towers."""
    recipe = job.recipe
    if recipe is None:
        without_data = "no-data" if "onnx" in formats else "weights"
        recipe = default_recipe(model.family.task) if job.parts else read_recipe(without_data)
    if job.seed is not None:
        recipe = dataclasses.replace(recipe, seed=job.seed)
    recipe.check(model.towers)
    check_fit(recipe, model)
    if job.parts is None and any(step.method.needs_data for step in recipe.steps):
        needing = next(step.method.name for step in recipe.steps if step.method.needs_data)
        raise RecipeError(f"{needing} needs calibration data", hint="give --data or --calibration")
    return recipe


def why_no_graphs(model: Model, components: Sequence[Component]) -> str:
    """Say why a model gets no ONNX graphs; empty where it gets some."""
    if model.family.task is None:
        return f"no ONNX graphs: {type(model.net).__name__} has none yet; checkpoint/ runs in PyTorch"
    if is_too_large(components):
        return "no ONNX graphs: the model is too large for one file, which ends at 2 GB; checkpoint/ runs in PyTorch"
    return ""


def choose_formats(job: Job, model: Model, components: Sequence[Component]) -> tuple[Format, ...]:
    """ONNX where the family has graphs that fit a file, else a checkpoint; asking for what cannot be is an error."""
    if model.family.task is None:
        if "onnx" in job.formats:
            raise RecipeError(
                f"{type(model.net).__name__} has no ONNX route yet", hint="leave --format away: it gets a checkpoint"
            )
        return ("checkpoint",)
    if "onnx" in job.formats and is_too_large(components):
        raise RecipeError(
            f"{model.name} is too large for one ONNX file, which ends at 2 GB",
            hint="leave --format away: it gets a checkpoint",
        )
    return job.formats or (("checkpoint",) if is_too_large(components) else ("onnx",))


def _check_shift(goal: Goal, *, judged: bool, quick: bool) -> None:
    """Refuse a goal on shifted rows where none are judged."""
    if goal.metric.startswith(SHIFTED) and (quick or not judged):
        reason, hint = (
            ("--quick leaves shift out", "leave --quick away") if judged else ("rows are shifted", "give --data")
        )
        raise RecipeError(f"goal {goal.text!r} cannot be measured: {reason}", hint=hint)


def _check_resource(goal: Goal, *, judged: bool, in_engine: bool) -> None:
    """Refuse a goal on a resource that this run will not measure."""
    if goal.metric in ("p50_ms", "p95_ms") and not judged:
        reason, hint = "items are timed on data", "give --data"
    elif goal.metric == "peak_rss_bytes" and not in_engine:
        reason, hint = "memory is measured of ONNX graphs", "give --format onnx and an engine that runs them"
    else:
        return
    assert goal.metric in RESOURCES
    raise RecipeError(f"goal {goal.text!r} cannot be measured: {reason}", hint=hint)
