"""Compress a model: open, calibrate, apply the recipe, lower, measure, gate, publish."""

from __future__ import annotations

import dataclasses
import shutil
import time
from pathlib import Path
from typing import Any

import torch

from penjing.artifact.checkpoint import copy_configuration, save_network
from penjing.artifact.publish import publish, staging
from penjing.data.split import Parts
from penjing.errors import GoalNotMet, RecipeError
from penjing.evaluate.goals import GoalResult, default_goals
from penjing.models.family import Model
from penjing.models.open import open_model
from penjing.models.outputs import tower_outputs
from penjing.pipeline.coverage import coverage_table, site_parameters, tower_parameters, tower_table
from penjing.pipeline.job import Format, Job, Options, Tell, plan_job, silent
from penjing.pipeline.measure import (
    Comparison,
    compare,
    compare_checkpoints,
    export_graphs,
    runnable,
)
from penjing.pipeline.steps import Calibration, StepDone, run_steps
from penjing.pipeline.write import report_document, result_json, write_artifact, write_refusal
from penjing.recipe import Recipe, default_recipe, read_recipe


def compress(
    model: str | None, out: str | Path, options: Options | None = None, *, tell: Tell = silent
) -> dict[str, Any]:
    """Compress a model folder or hub id into the artifact `out`; returns the document of `compress --json`.

    Raises GoalNotMet, with that document as its `document`, when the gate refuses; nothing is published then.
    """
    start = time.perf_counter()
    job = plan_job(model, out, options or Options())
    torch.set_num_threads(job.engine.threads)
    tell("open the model", 0, 0)
    opened = open_model(job.model)
    recipe = choose_recipe(job, opened)
    formats = choose_formats(job, opened)
    counted = (site_parameters(opened), tower_parameters(opened))
    job.work.mkdir(exist_ok=True)
    with staging(job.out) as folder:
        before = prepare_source(job, opened, formats, tell)
        done = run_steps(opened, recipe, calibration_of(job, opened, tell), job.work / "steps", tell, resume=job.resume)
        lower(opened, folder, formats, tell)
        comparison = measure(job, opened, before, folder, formats, tell)
        coverage = coverage_table(opened, done, counted[0])
        towers = tower_table(opened, coverage, counted[1], comparison.tower_ms)
        goals, problems = gate(job, recipe, comparison, done)
        document = report_document(job, opened, recipe, done, comparison, goals, problems, coverage, towers)
        document["seconds"] = time.perf_counter() - start
        copy_configuration(opened.folder, folder)
        if not document["published"]:
            write_refusal(job.work, document)
            raise refusal(job, document, goals, problems)
        write_artifact(folder, opened, document)
        publish(folder, job.out)
    shutil.rmtree(job.work, ignore_errors=True)
    return result_json(document)


def choose_recipe(job: Job, model: Model) -> Recipe:
    """The recipe asked for, or the default of the task; without data one that needs none. Checked against the towers."""
    recipe = job.recipe
    if recipe is None:
        recipe = default_recipe(model.family.task) if job.parts else read_recipe("weights")
    if job.seed is not None:
        recipe = dataclasses.replace(recipe, seed=job.seed)
    recipe.check(model.towers)
    if job.parts is None and any(step.method.needs_data for step in recipe.steps):
        needing = next(step.method.name for step in recipe.steps if step.method.needs_data)
        raise RecipeError(f"{needing} needs calibration data", hint="give --data or --calibration")
    return recipe


def choose_formats(job: Job, model: Model) -> tuple[Format, ...]:
    """ONNX where the family has graphs, else a checkpoint; asking for graphs that do not exist is an error."""
    if model.family.task is None:
        if "onnx" in job.formats:
            raise RecipeError(
                f"{type(model.net).__name__} has no ONNX route yet", hint="leave --format away: it gets a checkpoint"
            )
        return ("checkpoint",)
    return job.formats or ("onnx",)


def calibration_of(job: Job, model: Model, tell: Tell) -> Calibration:
    """Inputs of the towers from the calibrate and select parts; judge rows are not touched."""
    parts = job.parts
    if parts is None or model.family.task is None:
        return Calibration((), (), "no data")
    tell("read calibration data", 0, 0)
    calibrate, select = (
        list(model.family.batches(model.settings, model.folder, rows)) for rows in (parts.calibrate, parts.select)
    )
    return Calibration(calibrate, select, rows_key(parts))


def rows_key(parts: Parts) -> str:
    """What the rows that steps may see are: their content, in order."""
    from penjing.data.split import content_key

    return " ".join(content_key(row) for rows in (parts.calibrate, parts.select) for row in rows)


def prepare_source(job: Job, model: Model, formats: tuple[Format, ...], tell: Tell) -> Any:
    """What the result is compared with: float32 graphs of the source, or its towers' outputs on synthetic inputs."""
    if "onnx" not in formats:
        return tower_outputs(model, seed=0)
    folder = job.work / "source"
    if not (job.resume and (folder / "penjing.json").exists()):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        export_graphs(model, folder, "source", tell)
        runnable(model, folder)
    return folder


def lower(model: Model, folder: Path, formats: tuple[Format, ...], tell: Tell) -> None:
    """Write the compressed model in every format asked for."""
    if "onnx" in formats:
        export_graphs(model, folder, "result", tell)
        runnable(model, folder)
    if "checkpoint" in formats:
        tell("write checkpoint", 0, 0)
        save_network(model.net, model.folder, folder / "checkpoint")


def measure(job: Job, model: Model, before: Any, folder: Path, formats: tuple[Format, ...], tell: Tell) -> Comparison:
    """Measure source and result on rows that no step has seen."""
    if "onnx" in formats:
        rows = job.parts.judge if job.parts else ()
        return compare(model, before, folder, rows, job.engine, tell)
    tell("compare outputs", 0, 0)
    source_bytes = 4 * int(model.source["parameters"])
    return compare_checkpoints(before, tower_outputs(model, seed=0), source_bytes, folder)


def gate(job: Job, recipe: Recipe, comparison: Comparison, done: list[StepDone]) -> tuple[list[GoalResult], list[str]]:
    """Hold the result against the goals, and against having changed nothing."""
    goals = job.goals or recipe.goals or default_goals([*comparison.result.metrics])
    results = [goal.check(comparison.source, comparison.result, comparison.changes) for goal in goals]
    problems = []
    if not any(not note.skipped for step in done for note in step.notes):
        reasons = {note.skipped for step in done for note in step.notes}
        problems.append(f"nothing was changed: {'; '.join(sorted(reasons)) or 'no step found a site'}")
    return results, problems


def refusal(job: Job, document: dict[str, Any], goals: list[GoalResult], problems: list[str]) -> GoalNotMet:
    """The error that names every goal that failed and by how much."""
    failed = [
        f"{result.goal} is {result.value:.4g}, limit {result.limit:.4g}"
        if result.value is not None and result.limit is not None
        else f"{result.goal}: {result.note}"
        for result in goals
        if not result.met
    ]
    report = job.work / "report.html"
    error = GoalNotMet(f"not published: {'; '.join([*failed, *problems])}", hint=f"the report is {report}")
    error.document = result_json(document)
    return error
