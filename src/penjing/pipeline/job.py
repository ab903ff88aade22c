"""What a run of `compress` is asked to do, checked before any work; and how it tells where it is."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from penjing.artifact.publish import check_out
from penjing.data.row import DataSet
from penjing.data.source import load_dataset
from penjing.data.split import Parts, split, split_with_calibration
from penjing.errors import RecipeError, did_you_mean
from penjing.evaluate.goals import Goal, parse_goals
from penjing.recipe import Recipe, read_recipe
from penjing.runtimes.engine import Engine, choose_engine

Format = Literal["onnx", "checkpoint"]
FORMATS: tuple[Format, ...] = ("onnx", "checkpoint")

Tell = Callable[[str, int, int], None]
"""Called with (what is being done, items done, items in all); (what, 0, 0) starts something uncounted."""


def silent(what: str, done: int, total: int) -> None:
    """Tell nobody."""


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

    @property
    def work(self) -> Path:
        """Where finished steps are kept until the artifact is published."""
        return self.out.parent / f".{self.out.name}.penjing"


def plan_job(model: str | None, out: str | Path, options: Options) -> Job:
    """Check everything that can be checked without opening the model."""
    recipe = read_recipe(options.recipe) if options.recipe else None
    goals = parse_goals(options.goals)
    for name in options.formats:
        if name not in FORMATS:
            raise RecipeError(f"no format called {name!r}", hint=did_you_mean(name, [*FORMATS]))
    named = model or (recipe.model if recipe else None)
    if named is None:
        raise RecipeError("no model named", hint="give MODEL, or `model:` in the recipe")
    engine = choose_engine(options.engine, options.threads, cache=False)
    place = Path(out).absolute()
    check_out(place, overwrite=options.overwrite)
    data = options.data or (recipe.data if recipe else None)
    found = load_dataset(data) if data else None
    parts = None
    if found and options.calibration:
        parts = split_with_calibration(found, load_dataset(options.calibration))
    elif found:
        parts = split(found)
    elif options.calibration:
        calibration = load_dataset(options.calibration)
        parts = dataclasses.replace(split(calibration), judge=())
    return Job(
        named,
        place,
        recipe,
        goals,
        tuple(name for name in FORMATS if name in options.formats),
        engine,
        options.seed,
        options.resume,
        found,
        parts,
    )
