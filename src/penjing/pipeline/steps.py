"""Run the steps of a recipe on a model, one after the other; a finished step is kept, so that a killed run goes on."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import overload

import penjing
from penjing.artifact.checkpoint import NOTES, load_network, save_network, structured_network
from penjing.bounded_json import read_object
from penjing.data.row import Row
from penjing.judge.footprint import trim_heap
from penjing.layers.weight_only import release_floats
from penjing.methods import Aids, Method
from penjing.methods.base import RangeCalibrated, RoundsActivations
from penjing.models.family import Model
from penjing.models.open import refreshed
from penjing.models.tower import Batch
from penjing.pipeline.material import RangeRows
from penjing.pipeline.stages import Stage, Watch
from penjing.recipe import Recipe, Step, named
from penjing.runtimes.engine import Engine
from penjing.values import Note, Tell

SCRATCH = "scratch"


class RowBatches(Sequence[Batch]):
    """Rows as a model reads them, which it does when they are asked for, once: many recipes ask for the first alone."""

    def __init__(self, model: Model, rows: Sequence[Row]) -> None:
        self._model, self._rows = model, rows
        self._first: Batch | None = None
        self._every: list[Batch] | None = None

    @overload
    def __getitem__(self, place: int) -> Batch: ...
    @overload
    def __getitem__(self, place: slice) -> list[Batch]: ...
    def __getitem__(self, place: int | slice) -> Batch | list[Batch]:
        if self._every is not None or place != 0:
            return self._all()[place]
        if self._first is None:  # of several rows, where a model takes from later ones what the first lacks
            self._first = next(self._read())
        return self._first

    def __iter__(self) -> Iterator[Batch]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    def __bool__(self) -> bool:
        return bool(self._rows)

    def _all(self) -> list[Batch]:
        if self._every is None:
            self._every = [*self._read()] if self._rows else []
        return self._every

    def _read(self) -> Iterator[Batch]:
        """Batches one by one: no more rows are read than they need."""
        model = self._model
        return iter(model.family.batches(model.settings, model.folder, self._rows))


@dataclass(frozen=True, slots=True)
class Calibration:
    """Inputs of the towers: for statistics, and for choices made on rows kept apart. `key` identifies the rows.

    `rows` are those that both were made of, to be read anew where a step alters the prompts. `ranges` are rows that
    ranges of activations are measured on; without any they are measured on `batches`.
    """

    batches: Sequence[Batch]
    select: Sequence[Batch]
    key: str
    rows: tuple[Sequence[Row], Sequence[Row]] = ((), ())
    ranges: RangeRows | None = None

    def read_by(self, model: Model) -> Calibration:
        """The same rows as a model reads them."""
        return replace(self, batches=RowBatches(model, self.rows[0]), select=RowBatches(model, self.rows[1]))

    def batches_of(self, method: Method, model: Model) -> Sequence[Batch]:
        """Return the batches that a method works on."""
        if self.ranges is None or not isinstance(method, RangeCalibrated):
            return self.batches
        return self.ranges.batches(model, augment=method.augment)

    def validation_of(self, method: Method, model: Model) -> Sequence[Batch]:
        """Return the batches that a method makes its choices on."""
        if self.ranges is None or not isinstance(method, RoundsActivations):
            return self.select
        return self.ranges.validation(model, self.select, augment=method.augment)

    def count_of(self, method: Method) -> int:
        """Return how many items a method works on, without reading them."""
        if self.ranges is None or not isinstance(method, RangeCalibrated):
            return len(self.batches)
        return self.ranges.count(augment=method.augment)


@dataclass(frozen=True, slots=True)
class Bench:
    """Where steps work: the folder that keeps what is finished, the engine that will run the result.

    `teacher` opens the source once more, for steps that learn from it.
    """

    folder: Path
    engine: Engine | None = None
    teacher: Callable[[], Model] | None = None


@dataclass(frozen=True, slots=True)
class StepDone:
    """A step as it ran: its notes and how long it took."""

    step: Step
    notes: tuple[Note, ...]
    seconds: float
    stage: Stage | None = None
    """What was measured after it, where the run is shown step by step."""


def run_steps(
    model: Model,
    recipe: Recipe,
    calibration: Calibration,
    bench: Bench,
    tell: Tell,
    watch: Watch | None = None,
) -> tuple[Model, list[StepDone]]:
    """Compress the model in place; returns it with the towers that it has by now, and what every step did.

    It starts after the last step that the bench holds for this very run. `watch` measures after each step.
    """
    work = bench.folder
    keys = _keys(model, recipe, calibration, bench.engine)
    done = _finished(recipe, keys, work)
    if done:
        model = _taken_up(model, done, work / keys[len(done) - 1])
    if any(step.step.method.alters_prompts for step in done):
        calibration = calibration.read_by(model)
    for place in range(len(done), len(recipe.steps)):
        step = recipe.steps[place]
        method, kept = step.method, work / keys[place]
        with named(place + 1, method):
            done.append(_run_step(model, step, calibration, recipe.seed, bench, tell))
        release_floats(model.net)
        trim_heap()
        if method.restructures:
            model = refreshed(model, folder=method.folder(model, work / SCRATCH))
        if watch is not None:
            done[-1] = replace(done[-1], stage=watch(model, method.name))
        _keep(model, done[-1], kept)
        model = replace(model, folder=kept) if method.restructures else model
        if method.alters_prompts:
            calibration = calibration.read_by(model)
    return model, done


def _taken_up(model: Model, done: Sequence[StepDone], kept: Path) -> Model:
    """The model as a finished step left it; one of another structure is built from the configuration kept there."""
    if any(step.step.method.restructures for step in done):
        model = refreshed(model, structured_network(kept), kept)
    load_network(kept, model.net)
    return model


def _run_step(model: Model, step: Step, calibration: Calibration, seed: int, bench: Bench, tell: Tell) -> StepDone:
    start = time.perf_counter()
    method: Method = step.method
    targets = step.targets(model.towers)
    notes: list[Note] = []
    total = sum(len(method.chosen(tower)) for tower in targets)
    label = f"{method.name}: {', '.join(tower.name for tower in targets)}"
    scratch = bench.folder / SCRATCH

    def told(what: str, done: int, of: int) -> None:
        tell(f"{method.name}: {what}", done, of)

    select = calibration.validation_of(method, model)
    aids = Aids(model, select, seed, scratch, told, bench.engine, bench.teacher, calibration.rows[1])
    for note in method.apply_all(targets, calibration.batches_of(method, model), aids):
        notes.append(note)
        tell(label, len(notes), total)
    return StepDone(step, tuple(notes), time.perf_counter() - start)


def _keys(model: Model, recipe: Recipe, calibration: Calibration, engine: Engine | None) -> list[str]:
    """One key per step: a hash of model, data, seed, version, and the recipe up to and including the step.

    What settings name (a data set, a file, a teacher) counts by its content.
    """
    digest = hashlib.sha256()
    digest.update(json.dumps([penjing.__version__, model.source["sha256"], calibration.key, recipe.seed]).encode())
    keys = []
    for step in recipe.steps:
        digest.update(json.dumps([step.as_json(), step.method.inputs_key(engine)], sort_keys=True).encode())
        keys.append(digest.hexdigest()[:16])
    return keys


def _keep(model: Model, done: StepDone, folder: Path) -> None:
    """Write the network after a step; it counts only once it has its final name. Only the newest step is kept whole."""
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    document = {"seconds": done.seconds, "stage": done.stage, "notes": [note.as_json() for note in done.notes]}
    try:
        save_network(model.net, model.folder, partial)
        (partial / NOTES).write_text(json.dumps(document), encoding="utf8")
    except BaseException:  # half of a network on a full disk is of no use to anybody
        shutil.rmtree(partial, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
    for older in folder.parent.iterdir():
        if older != folder:
            for weights in older.glob("*.safetensors"):
                weights.unlink()


def _finished(recipe: Recipe, keys: Sequence[str], work: Path) -> list[StepDone]:
    """The longest run of finished steps that `work` holds, ending at one whose weights are still there."""
    done: list[StepDone] = []
    complete = 0
    for step, key in zip(recipe.steps, keys, strict=True):
        notes = work / key / NOTES
        if not notes.is_file():
            break
        try:
            document = read_object(notes)
            made = tuple(Note(**note) for note in document["notes"])
            seconds = float(document["seconds"])
        except (OSError, ValueError, TypeError, KeyError):  # damaged: the step runs once more
            break
        done.append(StepDone(step, made, seconds, document.get("stage")))
        if any((work / key).glob("*.safetensors")):
            complete = len(done)
    return done[:complete]
