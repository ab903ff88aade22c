"""Measure a model or an artifact on data, alone or against another. Artifacts are measured without torch."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from penjing.apps.search import Embedding, Kept, artifact_of
from penjing.artifact.manifest import NAME, how_to_open, is_artifact, model_bytes, read_manifest, unlisted_files
from penjing.data.media import check_media
from penjing.data.row import Row
from penjing.data.source import load_dataset
from penjing.data.split import judging_rows
from penjing.errors import ArtifactError, DataError, EngineError, GoalNotMet
from penjing.evaluate.goals import Goal, parse_goals
from penjing.evaluate.interval import measure_all
from penjing.index.store import is_index
from penjing.judge.footprint import peak_rss_bytes
from penjing.judge.quality import check_answers, judge, liken, metric_names
from penjing.judge.speed import item_latencies
from penjing.runtimes import open_artifact, open_runner
from penjing.runtimes.engine import Engine, choose_engine
from penjing.runtimes.integrity import CHECKPOINT, verified_files
from penjing.runtimes.settings import SETTINGS, check_settings
from penjing.values import Latency, Measures, Tell, silent

if TYPE_CHECKING:
    from penjing.models.family import Model


class Opened(NamedTuple):
    """A model or artifact ready to run: its runner, the folder of its graphs where it has any, its bytes.

    `checkpoint_bytes` are those of its weight files on disk where `size_bytes` counts four a parameter.
    """

    runner: Any
    folder: Path | None
    size_bytes: int
    checkpoint_bytes: int | None = None


def evaluate(  # noqa: PLR0913 - the options of the command
    model: str,
    data: Any,
    *,
    against: str | None = None,
    task: str | None = None,
    goals: Sequence[str] = (),
    engine: str = "auto",
    threads: int | None = None,
    tell: Tell = silent,
) -> dict[str, Any]:
    """Judge a model or artifact on data; returns the document of `evaluate --json`.

    All rows judge, but of a set that fixes its own parts only those it means to judge by. Raises GoalNotMet, with that
    document as its `document`, where a goal was missed.
    """
    held = parse_goals(goals)
    check_goals(held, against)
    chosen = choose_engine(engine, threads, cache=False)
    names = {"measures": model, **({"against": against} if against else {})}
    rows = judge_rows(data, tell)
    with tempfile.TemporaryDirectory(prefix="penjing-") as scratch:
        opened = {key: open_any(name, chosen, Path(scratch) / key, tell) for key, name in names.items()}
        for key, one in opened.items():
            if task is not None and one.runner.task != task:
                raise DataError(f"{names[key]} does {one.runner.task}, not {task}", hint="leave --task away")
            check_media(one.runner.settings, rows)
            check_answers(one.runner.task, rows, one.runner.settings.get("labels", ()))
            check_alone(one.runner.task, rows, against)
            require(held, one.runner.task, rows, against)
        said = {
            key: judge(one.runner, rows, lambda done, total, key=key: tell(f"judge {names[key]}", done, total))  # type: ignore[misc]
            for key, one in opened.items()
        }
        scores = {key: one.scores for key, one in said.items()}
        if against:
            scores["measures"] = liken(said["against"], said["measures"])
        tell("time items", 0, 0)
        speeds = item_latencies({key: one.runner for key, one in opened.items()}, rows, chosen.threads)
        tell("measure memory", 0, 0)
        measures = {key: _measures(one, chosen, speeds[key], scores[key]) for key, one in opened.items()}
    return judged(measures["measures"], measures.get("against"), held)


def judged(result: Measures, source: Measures | None, goals: Sequence[Goal]) -> dict[str, Any]:
    """The document of an evaluation whose goals were met; else GoalNotMet, which has it."""
    checked = [goal.check(source or result, result) for goal in goals]
    document = {
        "measures": result.as_json(),
        "against": None if source is None else source.as_json(),
        "goals": [goal.as_json() for goal in checked],
    }
    missed = [goal.shortfall for goal in checked if not goal.met]
    if missed:
        error = GoalNotMet(f"not reached: {'; '.join(missed)}", hint="give a larger artifact, or another goal")
        error.document = document
        raise error
    return document


def check_goals(goals: Sequence[Goal], against: str | None) -> None:
    """Refuse goals that are relative to another model, where there is none."""
    relative = [goal.text for goal in goals if goal.kind != "value"]
    if relative and against is None:
        raise DataError(f"goal {relative[0]!r} is relative to another model", hint="give it as --against MODEL")


def require(goals: Sequence[Goal], task: str, rows: Sequence[Row], against: str | None) -> None:
    """Refuse goals on what will not be measured."""
    measured = [*metric_names(task, rows), *(["cosine"] if against else [])]
    for goal in goals:
        goal.require(measured)


def check_alone(task: str, rows: Sequence[Row], against: str | None) -> None:
    """Refuse to judge a model by nothing but its likeness to another, where there is no other."""
    if against is None and metric_names(task, rows) == ("cosine",):
        raise DataError(
            "rows without a `score` judge a model only against another",
            hint="give --against MODEL, or rows with text, text2 and score",
        )


def judge_rows(data: Any, tell: Tell = silent) -> tuple[Row, ...]:
    """The rows of a data set that judge; what of it was left out is told."""
    dataset = load_dataset(data)
    for note in dataset.notes:
        tell(note, 0, 0)
    return judging_rows(dataset)


def open_any(name: str, engine: Engine, scratch: Path, tell: Tell) -> Opened:
    """Open an artifact, an index with its artifact, or a model: exported to float32, or as it is for PyTorch."""
    folder = Path(name)
    if is_index(folder):
        return _indexed(folder, engine, scratch, tell)
    artifact = is_artifact(folder)
    if artifact and engine.name != "torch":
        if not (folder / "onnx").is_dir():
            raise EngineError(
                f"{folder} holds a checkpoint and no graphs", hint=how_to_open(folder, read_manifest(folder))
            )
        size_bytes = model_bytes(folder)
        return Opened(open_artifact(folder, read_manifest(folder), engine), folder, size_bytes, size_bytes)
    import torch

    from penjing.calibrate.runner import reference_runner
    from penjing.models.open import open_model
    from penjing.pipeline.graphs import check_front_end, export_graphs, runnable

    torch.set_num_threads(engine.threads)
    tell(f"open {name}", 0, 0)
    model = open_checkpoint(folder) if artifact else open_model(name)
    if model.family.task is None:
        raise EngineError(
            f"{type(model.net).__name__} has no task that can be judged yet",
            hint=how_to_open(folder, read_manifest(folder)) if artifact else "`penjing compress` compares its outputs",
        )
    check_front_end(model)
    size_bytes = model_bytes(folder) if artifact else 4 * int(model.source["parameters"])
    on_disk = size_bytes if artifact else model.source.get("size_bytes")
    if engine.name == "torch":
        return Opened(reference_runner(model), None, size_bytes, on_disk)
    export_graphs(model, scratch, name, tell)
    runnable(model, scratch)
    return Opened(open_runner(scratch, read_manifest(scratch), engine), scratch, size_bytes, on_disk)


def _indexed(folder: Path, engine: Engine, scratch: Path, tell: Tell) -> Opened:
    """The artifact of an index, whose vectors are compared as the index compares them."""
    artifact = artifact_of(folder)
    found = open_any(artifact, engine, scratch, tell)
    return found._replace(runner=Kept(Embedding(found.runner, artifact), folder))


def open_checkpoint(folder: Path) -> Model:
    """Open the compressed checkpoint of an artifact in PyTorch. It runs; its towers are not looked for any more."""
    from penjing.artifact.checkpoint import LAYERS, load_network
    from penjing.models.family import Model
    from penjing.models.registry import family_of

    place, manifest = folder / "checkpoint", read_manifest(folder)
    if not (place / LAYERS).is_file():
        raise EngineError(
            f"{folder} has no checkpoint/ for PyTorch", hint="compress with --format checkpoint --format onnx"
        )
    digests = verified_files(folder, manifest, checkpoint=True)
    for name in unlisted_files(folder, digests):
        if name.startswith(CHECKPOINT):
            raise ArtifactError(f"{folder / NAME} does not list {name}", hint="copy the whole folder again")
    if not isinstance(manifest.get("model"), dict) or "settings" not in manifest:
        raise ArtifactError(f"{folder}: the manifest has no model or no settings", hint="compress again")
    net: Any = load_network(place)
    family = family_of(net.config)
    if family.task is not None and family.task in SETTINGS:
        check_settings(family.task, manifest["settings"], str(folder / NAME))
    return Model(str(folder), net, net.config, place, family, (), manifest["settings"], manifest["model"])


def _measures(one: Opened, engine: Engine, speed: Latency, scores: Any) -> Measures:
    return Measures(
        engine.name,
        engine.threads,
        one.size_bytes,
        speed.p50_ms,
        speed.p95_ms,
        peak_rss_bytes(one.folder, engine) if one.folder else None,
        measure_all(scores),
        one.checkpoint_bytes,
    )
