"""Measure a model or an artifact on data, alone or against another."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from penjing.artifact.manifest import is_artifact, model_bytes, read_manifest
from penjing.data.source import load_dataset
from penjing.errors import DataError, EngineError
from penjing.evaluate.interval import measure_all
from penjing.judge.footprint import peak_rss_bytes
from penjing.judge.quality import judge
from penjing.judge.speed import item_latencies
from penjing.pipeline.job import Tell, silent
from penjing.runtimes import open_runner
from penjing.runtimes.engine import Engine, choose_engine
from penjing.values import Measures

SPEED_ROWS = 8


def evaluate(  # noqa: PLR0913 - the options of the command
    model: str,
    data: str,
    *,
    against: str | None = None,
    task: str | None = None,
    engine: str = "auto",
    threads: int | None = None,
    tell: Tell = silent,
) -> dict[str, Any]:
    """Judge a model or artifact on all rows of a data set; returns the document of `evaluate --json`."""
    chosen = choose_engine(engine, threads)
    rows = load_dataset(data).rows
    with tempfile.TemporaryDirectory(prefix="penjing-") as scratch:
        names = {"measures": model, **({"against": against} if against else {})}
        runners, folders, sizes = {}, {}, {}
        for key, name in names.items():
            runners[key], folders[key], sizes[key] = open_any(name, chosen, Path(scratch) / key, tell)
            if task is not None and runners[key].task != task:
                raise DataError(f"{name} does {runners[key].task}, not {task}", hint="leave --task away")
        scores = {
            key: judge(runner, rows, lambda done, total, key=key: tell(f"judge {names[key]}", done, total)).scores  # type: ignore[misc]
            for key, runner in runners.items()
        }
        tell("time items", 0, 0)
        speeds = item_latencies(runners, rows[:SPEED_ROWS], chosen.threads)
        found: dict[str, Any] = {"measures": None, "against": None}
        for key in names:
            folder = folders[key]
            found[key] = Measures(
                chosen.name,
                chosen.threads,
                sizes[key],
                speeds[key].p50_ms,
                speeds[key].p95_ms,
                peak_rss_bytes(folder, chosen) if folder else None,
                measure_all(scores[key]),
            ).as_json()
    return found


def open_any(name: str, engine: Engine, scratch: Path, tell: Tell) -> tuple[Any, Path | None, int]:
    """Open an artifact, or a model exported to float32 for the engine; -> runner, its folder, its bytes."""
    folder = Path(name)
    if is_artifact(folder) and engine.name != "torch":
        manifest = read_manifest(folder)
        return open_runner(folder, manifest, engine), folder, model_bytes(folder)
    from penjing.models.open import open_model
    from penjing.pipeline.measure import export_graphs, reference_runner, runnable

    tell(f"open {name}", 0, 0)
    if is_artifact(folder):
        model = open_checkpoint(folder)
        return reference_runner(model), None, model_bytes(folder)
    model = open_model(name)
    if model.family.task is None:
        raise EngineError(
            f"{type(model.net).__name__} has no task that can be judged yet",
            hint="`penjing compress` compares its outputs",
        )
    if engine.name == "torch":
        return reference_runner(model), None, 4 * int(model.source["parameters"])
    export_graphs(model, scratch, name, tell)
    runnable(model, scratch)
    manifest = {"task": model.family.task, "settings": dict(model.settings)}
    return open_runner(scratch, manifest, engine), scratch, 4 * int(model.source["parameters"])


def open_checkpoint(folder: Path) -> Any:
    """Open the compressed checkpoint of an artifact in PyTorch."""
    from penjing.artifact.checkpoint import LAYERS, load_network
    from penjing.models.open import model_of

    if not (folder / "checkpoint" / LAYERS).is_file():
        raise EngineError(
            f"{folder} has no checkpoint/ for PyTorch", hint="compress with --format checkpoint --format onnx"
        )
    source = read_manifest(folder)["model"]
    return model_of(load_network(folder / "checkpoint"), str(folder), folder / "checkpoint", source)
