"""What each step cost and gave: bytes, milliseconds and metrics after it, in the engine, on rows kept for choosing."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from penjing.artifact.manifest import model_bytes
from penjing.data.row import Row
from penjing.evaluate.interval import measure_all
from penjing.judge.quality import judge, liken
from penjing.judge.speed import item_latencies
from penjing.judge.tasks import Judged
from penjing.models.family import Model
from penjing.pipeline.graphs import export_graphs, runnable
from penjing.recipe import Recipe
from penjing.runtimes import open_runner
from penjing.runtimes.engine import Engine
from penjing.values import Tell

SHOWN_ROWS = 60
"""Rows of the select part that a stage is judged on; the verdict is of the judge part and more rows."""

Stage = Mapping[str, Any]
"""`name`, `size_bytes`, `p50_ms` and `metrics` (name -> value)."""
Watch = Callable[[Model, str], Stage]


def are_shown(recipe: Recipe) -> bool:
    """Whether a run is shown step by step: where a step changes the structure, and is not the only one."""
    return len(recipe.steps) > 1 and any(step.method.restructures for step in recipe.steps)


def watcher(rows: Sequence[Row], engine: Engine, tell: Tell) -> Watch:
    """Measures a model as it is between two steps, under the name of the step before."""

    first: list[Judged] = []

    def watch(model: Model, name: str) -> Stage:
        with tempfile.TemporaryDirectory(prefix="penjing-") as scratch:
            folder = Path(scratch)
            export_graphs(model, folder, f"after {name}", tell)
            runnable(model, folder)
            runner = open_runner(folder, {"task": model.family.task, "settings": dict(model.settings)}, engine)
            said = judge(runner, rows[:SHOWN_ROWS], lambda done, total: tell(f"look after {name}", done, total))
            speed = item_latencies({name: runner}, rows, engine.threads)[name]
            first.extend([said] if not first else [])
            metrics = {key: metric.value for key, metric in measure_all(liken(first[0], said)).items()}
            return {"name": name, "size_bytes": model_bytes(folder), "p50_ms": speed.p50_ms, "metrics": metrics}

    return watch
