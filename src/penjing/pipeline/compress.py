"""Compress a model: open, calibrate, apply the recipe, lower, measure, gate, publish."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

import penjing
from penjing.artifact.checkpoint import Layout, save_portable, write_configuration
from penjing.artifact.publish import publish, staging
from penjing.data.content import content_key
from penjing.data.shifts.media import check_calibration_media
from penjing.data.split import Parts, check_disjoint
from penjing.errors import GoalNotMet, RecipeError
from penjing.evaluate.interval import ItemScores
from penjing.evaluate.tolerance import OUT_OF_RANGE
from penjing.judge.footprint import forget_peak, own_peak_bytes, trim_heap
from penjing.judge.tasks import task_of
from penjing.methods.base import RangeCalibrated, RoundsActivations
from penjing.models.family import Component, Model
from penjing.models.hub import pinned
from penjing.models.open import open_model, reopen
from penjing.pipeline.accuracy_levels import LevelInputs, set_accuracy_levels
from penjing.pipeline.choices import Choices, choose
from penjing.pipeline.coverage import coverage_table, source_sites, tower_parameters, tower_table
from penjing.pipeline.engines import judge_engines, other_engines, scores_on_rows
from penjing.pipeline.gate import Verdict, hold
from penjing.pipeline.graphs import export_graphs, runnable
from penjing.pipeline.in_memory import checkpoint_of
from penjing.pipeline.job import Format, Job, Options, helper_number, plan_job, with_data
from penjing.pipeline.judging import judging_plan
from penjing.pipeline.material import RangeRows, range_material, validation_material
from penjing.pipeline.measure import (
    Comparison,
    compare,
    compare_in_torch,
    compare_outputs_in_torch,
    exported,
    output_scores,
    time_in_torch,
    with_ranges,
)
from penjing.pipeline.outputs import probe_towers
from penjing.pipeline.preflight import check_disk, expect
from penjing.pipeline.ranges import site_ranges
from penjing.pipeline.stages import are_shown, watcher
from penjing.pipeline.steps import Bench, Calibration, run_steps
from penjing.pipeline.write import layout_warnings, report_document, result_json, write_artifact, write_report
from penjing.recipe import Recipe
from penjing.runtimes.engine import Engine
from penjing.teach.rows import is_training_set, rows_to_learn
from penjing.values import Tell, silent


def compress_any(model: Any, out: Any, options: Options, *, tell: Tell = silent) -> dict[str, Any]:
    """`compress` for programs, which may hold the model in memory: a `PreTrainedModel` is saved beside `out` first.

    Raises:
        RecipeError: no `out` to write to.
        ModelError: something that is no model.
    """
    if not isinstance(out, (str, os.PathLike)):
        if isinstance(model, torch.nn.Module):
            raise RecipeError(
                "neither batches nor a folder to write to",
                hint="a module in memory needs batches=[…]; a PreTrainedModel may have out, a folder, instead",
            )
        what = "no folder to write to" if out is None else f"out is a {type(out).__name__}, not a folder"
        raise RecipeError(what, hint="give out, the folder of the artifact")
    if model is None:
        return compress(None, Path(out), options, tell=tell)
    with checkpoint_of(model, "compress", Path(os.path.abspath(out)).parent) as name:
        return compress(name, Path(out), options, tell=tell)


@pinned()
def compress(
    model: str | None, out: str | Path, options: Options | None = None, *, tell: Tell = silent
) -> dict[str, Any]:
    """Compress a model folder or hub id into the artifact `out`; returns the document of `compress --json`.

    Raises GoalNotMet, with that document as its `document`, when the gate refuses; nothing is published then. Where a
    launcher started several processes, they learn together, the first publishes, and the others return nothing.
    """
    start = time.perf_counter()
    job = plan_job(model, out, options or Options())
    torch.set_num_threads(job.engine.threads)
    if helper_number():
        help_to_learn(job)
        return {}
    tell("open the model", 0, 0)
    opened = open_model(job.model)
    job = with_data(job, opened.family.task, tell)
    choices = choose(job, opened)
    no_graphs = [choices.no_graphs] if choices.no_graphs else []
    for line in no_graphs:
        tell(line, 0, 0)
    again = functools.partial(reopen, opened.origin)
    counted = (source_sites(opened), tower_parameters(opened))
    with staging(job.out, job.work, fresh=not job.resume) as folder:
        calibration = calibration_of(job, opened, choices.recipe, tell)
        before = prepare_source(job, opened, choices, tell)
        inputs = LevelInputs.of(opened, job.parts) if "onnx" in choices.formats else None
        check_disk(opened, choices.recipe, calibration, job.work)
        expected = expect(opened, choices.recipe, calibration)
        forget_peak()
        tell(expected.as_text(), 0, 0)
        watch = watcher(job.parts.select, job.engine, tell) if shown(job, choices) and job.parts else None
        first = watch(opened, "source") if watch else None
        bench = Bench(job.work / "steps", job.engine, again)
        opened, done = run_steps(opened, choices.recipe, calibration, bench, tell, watch)
        took = {**expected.as_json(), "seconds": sum(step.seconds for step in done), "peak_rss_bytes": own_peak_bytes()}
        levels = set_accuracy_levels(opened, inputs, tell) if inputs else []
        lowered = lower(opened, folder, choices.formats, tell)
        comparison = measure(job, Models(again, opened), choices, before, lowered, tell)
        coverage = coverage_table(opened, done, counted[0])
        verdict = hold(choices.goals, comparison, done)
        document = report_document(job, opened, choices.recipe, done, comparison, calibration.ranges)
        document |= {
            **verdict.as_json(),
            "coverage": coverage,
            "towers": tower_table(opened, coverage, counted[1], comparison.tower_ms),
            "steps_took": took,
            "stages": [first, *(step.stage for step in done)] if first else [],
            "seconds": time.perf_counter() - start,
            "checkpoint": lowered.layout._asdict() if lowered.layout else None,
            "graphs": sorted(f"onnx/{path.name}" for path in folder.glob("onnx/*.onnx")),
            "warnings": [*no_graphs, *document["warnings"], *layout_warnings(lowered.layout), *levels],
        }
        if not verdict.published:
            raise refusal(job, document, verdict)
        write_configuration(opened.net, opened.folder, folder)
        write_artifact(folder, opened, document)
        publish(folder, job.out, job.standing)
    shutil.rmtree(job.work, ignore_errors=True)
    return result_json(document, job.out)


def help_to_learn(job: Job) -> None:
    """Run the steps up to the last that learns, as the first process does: the two share the items of every batch."""
    model = open_model(job.model)
    job = with_data(job, model.family.task, silent)
    recipe = choose(job, model).recipe
    last = max((place for place, step in enumerate(recipe.steps, 1) if step.method.learns), default=0)
    try:
        with staging(job.out, job.work, fresh=True):
            calibration = calibration_of(job, model, recipe, silent)
            bench = Bench(job.work / "steps", job.engine, functools.partial(reopen, model.origin))
            run_steps(model, dataclasses.replace(recipe, steps=recipe.steps[:last]), calibration, bench, silent)
    finally:  # nobody goes on from here: the first process keeps what was learned
        shutil.rmtree(job.work, ignore_errors=True)


def shown(job: Job, choices: Choices) -> bool:
    """Whether the run is shown step by step: there are rows to show it on, and an engine to show it in."""
    return choices.in_engine and bool(choices.rows and job.parts and job.parts.select) and are_shown(choices.recipe)


def calibration_of(job: Job, model: Model, recipe: Recipe, tell: Tell) -> Calibration:
    """Inputs of the towers from the calibrate and select parts, if a step asks for any; judge rows are not touched."""
    parts = job.parts
    if parts is not None:
        check_apart(recipe, parts)
        for step in recipe.steps:
            step.method.refuse_rows(model, parts.calibrate, parts.select)
    methods = [step.method for step in recipe.steps]
    if parts is None or not any(method.needs_data or isinstance(method, RoundsActivations) for method in methods):
        return Calibration((), (), "no data")
    tell("read calibration data", 0, 0)
    ranges, key = range_rows(job, model, recipe), rows_key(parts)
    if ranges is not None:
        key += f" {json.dumps(ranges.material.sets, sort_keys=True)}"
    return Calibration((), (), key, (parts.calibrate, parts.select), ranges).read_by(model)


def range_rows(job: Job, model: Model, recipe: Recipe) -> RangeRows | None:
    """Rows for the steps that round activations; None where no step does, or the model has no task.

    Where none of them measures ranges there are validation rows alone.
    """
    task, parts = model.family.task, job.parts
    methods = [step.method for step in recipe.steps]
    if task is None or parts is None or not any(isinstance(method, RoundsActivations) for method in methods):
        return None
    calibrates = any(isinstance(method, RangeCalibrated) for method in methods)
    check_calibration_media(parts.calibrate, task_of(task).inputs)
    exclude = (*parts.select, *parts.judge)
    material = range_material(task, model.settings, parts.calibrate, exclude, builtin=not job.own_calibration)
    material = material if calibrates else validation_material(material)
    return RangeRows(material, task, recipe.seed, job.work / "calibration")


def check_apart(recipe: Recipe, parts: Parts) -> None:
    """Refuse data that a step reads by itself and that judges: a set that was made to learn from never does."""
    for name in {step.method.reads for step in recipe.steps} - {None}:
        if name is not None and not is_training_set(name):
            check_disjoint(Parts(tuple(rows_to_learn(name)), (), parts.judge))


def rows_key(parts: Parts) -> str:
    """What the rows that steps may see are: their content, in order."""
    return " ".join(content_key(row) for rows in (parts.calibrate, parts.select) for row in rows)


def prepare_source(job: Job, model: Model, choices: Choices, tell: Tell) -> Any:
    """What the result is compared with: float32 graphs of the source, or probes and what its towers answer to them."""
    if choices.rows and not choices.in_engine:
        return None
    if not choices.in_engine:
        return probe_towers(model, choices.recipe.seed)
    folder = job.work / f"source-{penjing.__version__}-{model.source['sha256'][:16]}"
    if job.resume and (folder / "penjing.json").exists():
        components = model.family.components(model.net)
    else:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        components = export_graphs(model, folder, "source", tell)
        runnable(model, folder)
        trim_heap()
    return exported(model, components, folder, None if choices.rows else choices.recipe.seed)


@dataclasses.dataclass(frozen=True, slots=True)
class Models:
    """What is compared: `open_source` opens the source once more, which the steps have changed into the result."""

    open_source: Callable[[], Model]
    result: Model


@dataclasses.dataclass(frozen=True, slots=True)
class Lowered:
    """What was written of the compressed model: its graphs, and the layout of its checkpoint, if there is one."""

    folder: Path
    components: Sequence[Component] = ()
    layout: Layout | None = None


def lower(model: Model, folder: Path, formats: tuple[Format, ...], tell: Tell) -> Lowered:
    """Write the compressed model in every format asked for."""
    components: Sequence[Component] = ()
    if "onnx" in formats:
        components = export_graphs(model, folder, "result", tell)
        runnable(model, folder)
        trim_heap()
    if "checkpoint" not in formats:
        return Lowered(folder, components)
    tell("write checkpoint", 0, 0)
    return Lowered(folder, components, save_portable(model.net, model.folder, folder / "checkpoint"))


def measure(job: Job, models: Models, choices: Choices, before: Any, lowered: Lowered, tell: Tell) -> Comparison:
    """Measure source and result on rows that no step has seen, in every engine or in PyTorch."""
    model, folder = models.result, lowered.folder
    plan = judging_plan(job, model.family.task, choices, tell)
    ranges = () if job.quick else site_ranges(model, plan.rows, plan.shifted, tell)
    shows_ranges = plan.shifted is not None and (bool(ranges) or any(g.metric == OUT_OF_RANGE for g in choices.goals))
    if choices.in_engine:
        seed, draws = (None, None) if choices.rows else (choices.recipe.seed, before.draws)
        both = {"source": before, "result": exported(model, lowered.components, folder, seed, draws)}
        comparison = compare(model, both, plan, job.engine, tell)
        comparison = with_ranges(comparison, ranges, shifted=shows_ranges)
        engines = (job.engine, *(() if job.quick else other_engines(job.engine)))
        judgement = comparison.judgement

        def scores_in(engine: Engine) -> Mapping[str, ItemScores]:
            if not choices.rows:
                return output_scores(model, both, engine, tell)
            return scores_on_rows(engine, model, folder, choices.rows, judgement.outputs["source"], tell)

        results = judge_engines(engines, choices.goals, judgement, scores_in)
        comparison = dataclasses.replace(comparison, engines=results)
        if not choices.rows:
            return comparison
        reference = time_in_torch(models.open_source(), choices.rows, job.engine.threads, tell)
        return dataclasses.replace(comparison, reference=reference)
    if choices.rows:
        found = compare_in_torch(models.open_source(), model, folder, plan, job.engine.threads, tell)
        return with_ranges(found, ranges, shifted=shows_ranges)
    tell("compare outputs", 0, 0)
    return compare_outputs_in_torch(model, before, folder, job.engine.threads)


def refusal(job: Job, document: dict[str, Any], verdict: Verdict) -> GoalNotMet:
    """Leave the report where the work is kept, and name every goal that failed and by how much."""
    written = write_report(job.work, document)
    error = GoalNotMet(f"not published: {'; '.join(verdict.reasons())}", hint=f"the report is {written}")
    error.document = result_json(document, job.out)
    return error
