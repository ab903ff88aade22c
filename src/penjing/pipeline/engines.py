"""Every engine that an artifact claims: the result is judged in each, and one that fails is not claimed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from penjing.data.row import Row
from penjing.errors import PenjingError
from penjing.evaluate.goals import Goal
from penjing.evaluate.interval import ItemScores, differences, measure_all
from penjing.evaluate.tolerance import loss, tolerances
from penjing.extras import have
from penjing.judge.quality import judge, liken
from penjing.judge.tasks import Judged
from penjing.models.family import Model
from penjing.pipeline.choices import Choices
from penjing.pipeline.job import Job
from penjing.pipeline.judging import Judgement
from penjing.runtimes import open_runner
from penjing.runtimes.engine import Engine
from penjing.values import Measures, Metric, Tell


@dataclass(frozen=True, slots=True)
class EngineResult:
    """What the result reached in one engine, and whether the artifact may claim that engine.

    `reasons` say why it may not; `differences` name metrics in which it differs from the engine of the run by more
    than their tolerance.
    """

    engine: str
    claimed: bool
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    reasons: tuple[str, ...] = ()
    differences: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return an entry of `engines` in a report."""
        metrics = {name: metric.as_json() for name, metric in self.metrics.items()}
        return {
            "claimed": self.claimed,
            "metrics": metrics,
            "reasons": [*self.reasons],
            "differences": [*self.differences],
        }


def judge_engines(
    job: Job, model: Model, choices: Choices, judgement: Judgement, folder: Path, tell: Tell
) -> tuple[EngineResult, ...]:
    """Judge a result in every engine that is installed; the engine of the run was judged already and comes first.

    `--quick` leaves the others out, so the artifact claims the engine of the run alone. Without rows outputs are
    compared in the engine of the run alone.
    """
    source, primary = judgement.scores["source"], judgement.scores["result"]
    results = [engine_result(job.engine.name, choices.goals, source, primary, primary)]
    if job.quick or not choices.rows:
        return tuple(results)
    manifest = {"task": model.family.task, "settings": dict(model.settings)}
    for engine in other_engines(job.engine):
        reference = judgement.outputs["source"]
        scores, failure = judge_engine(engine, folder, manifest, choices.rows, reference, tell)
        if failure:
            results.append(EngineResult(engine.name, False, reasons=(failure,)))
        else:
            results.append(engine_result(engine.name, choices.goals, source, scores, primary))
    return tuple(results)


def other_engines(engine: Engine) -> tuple[Engine, ...]:
    """Return the installed engines that run graphs, but the one of the run."""
    names = ("openvino", "onnxruntime") if have("openvino") else ("onnxruntime",)
    return tuple(Engine(name, engine.threads, cache=False) for name in names if name != engine.name)  # type: ignore[arg-type]


def judge_engine(
    engine: Engine,
    folder: Path,
    manifest: Mapping[str, Any],
    rows: Sequence[Row],
    source: Judged,
    tell: Tell,
) -> tuple[dict[str, ItemScores], str]:
    """Judge the graphs of a result in one more engine.

    Returns its scores, as they compare with the source's outputs in the engine of the run, and why it failed to run
    (empty where it ran).
    """
    try:
        runner = open_runner(folder, manifest, engine)
        outputs = judge(runner, rows, lambda done, total: tell(f"judge in {engine.name}", done, total))
    except PenjingError as error:
        return {}, error.message
    return dict(liken(source, outputs)), ""


def engine_result(
    engine: str,
    goals: Sequence[Goal],
    source: Mapping[str, ItemScores],
    scores: Mapping[str, ItemScores],
    primary: Mapping[str, ItemScores],
) -> EngineResult:
    """Check the goals on quality against what a result reached in one engine.

    Args:
        engine: name of the engine.
        goals: goals of the run; those on resources and on shifted rows are those of the engine of the run.
        source: scores of the source in the engine of the run.
        scores: scores of the result in this engine.
        primary: scores of the result in the engine of the run.
    """
    metrics = measure_all(scores)
    before, after = Measures(engine, 0, metrics=measure_all(source)), Measures(engine, 0, metrics=metrics)
    changes = differences(source, scores)
    checked = [goal.check(before, after, changes) for goal in goals if goal.metric in scores]
    reasons = tuple(result.shortfall for result in checked if not result.met)
    apart = []
    for tolerance in tolerances(goals):
        name = tolerance.metric
        if name not in scores or name not in primary:
            continue
        reference = source[name].value if name in source else 1.0
        if not abs(loss(name, primary[name].value, scores[name].value)) <= tolerance.absolute(reference):
            apart.append(
                f"{name} {scores[name].value:.4g} in {engine}, {primary[name].value:.4g} in the engine of the run"
            )
    return EngineResult(engine, not reasons, metrics, reasons, tuple(apart))
