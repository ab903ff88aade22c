"""What a run of `compress` is asked to do, checked before the model is opened."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from penjing.artifact.publish import check_out, standing
from penjing.data.audio import audio_length, decode_audio
from penjing.data.content import image_sides
from penjing.data.image import read_image
from penjing.data.row import DataSet, Row
from penjing.data.source import load_dataset
from penjing.data.split import Parts, split, split_with_calibration
from penjing.errors import RecipeError, did_you_mean
from penjing.evaluate.catalogue import RESOURCES, SHIFTED
from penjing.evaluate.goals import Goal, parse_goals
from penjing.recipe import Recipe, recipe_of
from penjing.runtimes.engine import Engine, choose_engine
from penjing.train.launch import processes, rank
from penjing.values import Tell

Format = Literal["onnx", "checkpoint"]
BUILTIN_OF = {
    "speech-seq2seq": "speech", "dual-encoder": "pictures", "multimodal": "scenes", "causal-lm": "text",
    "encoder": "text",
}  # fmt: skip
"""The built-in set of a task."""
TIMED = ("p50_ms", "p95_ms")
WITHOUT_DATA = ("cosine", "logit_kl", *(name for name in RESOURCES if name not in TIMED))
"""What is measured where no data judges: likeness of outputs, bytes, memory."""
FORMATS: tuple[Format, ...] = ("onnx", "checkpoint")


@dataclass(frozen=True, slots=True)
class Options:
    """Options of `compress`, as the command line names them."""

    data: Any = None
    """a name, a folder or a file; from Python a `datasets.Dataset`, too. `calibration` likewise"""
    calibration: Any = None
    recipe: Any = None
    """a file or a built-in name; from Python a list of steps, too"""
    goals: Sequence[str] = ()
    formats: Sequence[str] = ()
    engine: str = "auto"
    threads: int | None = None
    seed: int | None = None
    resume: bool = False
    overwrite: bool = False
    quick: bool = False
    """judge the test rows as they are and in one engine alone: no shift, no other engines"""


@dataclass(frozen=True, slots=True)
class Job:
    """A checked request: everything but the model, which is opened next."""

    model: str
    out: Path
    recipe: Recipe | None
    goals: tuple[Goal, ...]
    formats: tuple[Format, ...]
    engine: Engine
    seed: int | None
    resume: bool
    data: DataSet | None
    parts: Parts | None
    quick: bool = False
    standing: str = ""
    """what stood at OUT when the run began, see `penjing.artifact.publish.standing`"""
    own_calibration: bool = False
    """whether the user named a set to calibrate on, which then stands in for the built-in material"""
    notes: tuple[str, ...] = ()
    """what the user should know of the sets that were named: files that were left out"""

    @property
    def work(self) -> Path:
        """Where finished steps are kept until the artifact is published; each process that helps has a place apart."""
        number = helper_number()
        return self.out.parent / f".{self.out.name}.penjing{f'.{number}' if number else ''}"


def with_data(job: Job, task: str | None, tell: Tell) -> Job:
    """A job that learns and names no data takes the built-in set that fits the task, if there is one; it says so.

    It also says what was left out of the sets that were named.
    """
    for note in job.notes:
        tell(note, 0, 0)
    learns = job.recipe is not None and any(step.method.learns for step in job.recipe.steps)
    name = BUILTIN_OF.get(task or "")
    if job.parts is not None or not learns or name is None:
        return job
    tell(f"no data named: learns from and is judged by the built-in set {name}", 0, 0)
    data = load_dataset(name)
    return replace(job, data=data, parts=split_parts(data, None))


def helper_number() -> int:
    """Which process this is of those that a launcher started; 0 is the one that publishes."""
    return rank()


def plan_job(model: str | None, out: str | Path, options: Options) -> Job:
    """Check everything that can be checked without opening the model."""
    if options.resume and processes() > 1:
        raise RecipeError(
            "--resume with several processes: only the first of them kept what was learned",
            hint="go on in one process, without the launcher",
        )
    recipe = None if options.recipe is None else recipe_of(options.recipe)
    goals = parse_goals(options.goals)
    for name in options.formats:
        if name not in FORMATS:
            raise RecipeError(f"no format called {name!r}", hint=did_you_mean(name, [*FORMATS]))
    named = model or (recipe.model if recipe else None)
    if named is None:
        raise RecipeError("no model named", hint="give MODEL, or `model:` in the recipe")
    engine = choose_engine(options.engine, options.threads, cache=False)
    place = Path(os.path.abspath(out))
    check_out(place, overwrite=options.overwrite)
    data = options.data if options.data is not None else (recipe.data if recipe else None)
    found = None if data is None else load_dataset(data)
    learns = recipe is not None and any(step.method.learns for step in recipe.steps)
    if data is None and not learns:  # what learns takes a built-in set of the task, which is known later
        check_goals_without_data(goals or (recipe.goals if recipe else ()))
    calibration = None if options.calibration is None else load_dataset(options.calibration)
    parts = split_parts(found, calibration)
    notes = tuple(note for named_set in (found, calibration) if named_set is not None for note in named_set.notes)
    formats = tuple(name for name in FORMATS if name in options.formats)
    return Job(
        named, place, recipe, goals, formats, engine, options.seed, options.resume, found, parts, options.quick,
        standing=standing(place), own_calibration=options.calibration is not None, notes=notes,
    )  # fmt: skip


def check_goals_without_data(goals: Iterable[Goal]) -> None:
    """Refuse goals on what only rows of data measure: the task's metrics, shift and milliseconds.

    Raises:
        RecipeError: there is such a goal.
    """
    for goal in goals:
        name = goal.metric.rpartition("/")[2]
        if goal.metric.startswith(SHIFTED) or name not in WITHOUT_DATA:
            reason = "items are timed on data" if name in TIMED else "it is measured on data"
            raise RecipeError(f"goal {goal.text!r} cannot be measured: {reason}", hint="give --data")


def split_parts(data: DataSet | None, calibration: DataSet | None) -> Parts | None:
    """Three disjoint parts whose files can be read; without data to judge by, none judges."""
    if data and calibration:
        parts = split_with_calibration(data, calibration)
    elif data:
        parts = split(data)
    elif calibration:
        parts = split(calibration)._replace(judge=())
    else:
        return None
    for rows in parts:
        check_files(rows)
    return parts


def check_files(rows: Iterable[Row]) -> None:
    """Refuse a file that is no image or sound now and not after an hour; a header that can be read is believed."""
    for row in rows:
        if row.sound is not None and audio_length(row.sound)[0] < 1:
            decode_audio(row.sound)
        if row.image is not None and not image_sides(row.image):
            read_image(row.image)
