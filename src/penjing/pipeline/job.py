"""What a run of `compress` is asked to do, checked before the model is opened."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from penjing.artifact.publish import check_out, standing
from penjing.data.audio import audio_length, decode_audio
from penjing.data.content import image_sides
from penjing.data.image import read_image
from penjing.data.row import DataSet, Row
from penjing.data.source import load_dataset
from penjing.data.split import Parts, split, split_with_calibration
from penjing.errors import RecipeError, did_you_mean
from penjing.evaluate.goals import Goal, parse_goals
from penjing.recipe import Recipe, read_recipe
from penjing.runtimes.engine import Engine, choose_engine
from penjing.train.launch import processes, rank
from penjing.values import Tell

Format = Literal["onnx", "checkpoint"]
BUILTIN_OF = {
    "speech-seq2seq": "speech", "dual-encoder": "pictures", "multimodal": "scenes", "causal-lm": "text",
    "encoder": "text",
}  # fmt: skip
"""The built-in set of a task."""
FORMATS: tuple[Format, ...] = ("onnx", "checkpoint")


@dataclass(frozen=True, slots=True)
class Options:
    """Options of `compress`, as the command line names them."""

    data: str | None = None
    calibration: str | None = None
    recipe: str | None = None
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

    @property
    def work(self) -> Path:
        """Where finished steps are kept until the artifact is published; each process that helps has a place apart."""
        number = helper_number()
        return self.out.parent / f".{self.out.name}.penjing{f'.{number}' if number else ''}"


def with_data(job: Job, task: str | None, tell: Tell) -> Job:
    """A job that learns and names no data takes the built-in set that fits the task, if there is one; it says so."""
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
    recipe = read_recipe(options.recipe) if options.recipe else None
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
    data = options.data or (recipe.data if recipe else None)
    found = load_dataset(data) if data else None
    parts = split_parts(found, load_dataset(options.calibration) if options.calibration else None)
    formats = tuple(name for name in FORMATS if name in options.formats)
    return Job(
        named, place, recipe, goals, formats, engine, options.seed, options.resume, found, parts, options.quick,
        standing=standing(place), own_calibration=options.calibration is not None,
    )  # fmt: skip


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
