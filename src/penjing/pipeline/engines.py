"""Every engine that an artifact claims: the result is judged in each, and one that fails is not claimed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
from penjing.pipeline.judging import Judgement
from penjing.runtimes import open_runner
from penjing.runtimes.engine import Engine
from penjing.values import Measures, Metric, Tell

ScoresIn = Callable[[Engine], Mapping[str, ItemScores]]


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
    engines: Sequence[Engine], goals: Sequence[Goal], judgement: Judgement, scores_in: ScoresIn
) -> tuple[EngineResult, ...]:
    """Judge a result in every engine.

    Args:
        engines: the engine of the run, in which the result was judged already, then the others.
        goals: goals of the run.
        judgement: what the result reached in the engine of the run.
        scores_in: scores of the result in another engine, as they compare with the source's in the engine of the run.

    Returns:
        One result per engine, in their order.
    """
    source, primary = judgement.scores["source"], judgement.scores["result"]
    results = [engine_result(engines[0].name, goals, source, primary, primary)]
    for engine in engines[1:]:
        try:
            scores = scores_in(engine)
        except PenjingError as error:
            results.append(EngineResult(engine.name, False, reasons=(error.message,)))
        else:
            results.append(engine_result(engine.name, goals, source, scores, primary))
    return tuple(results)


def other_engines(engine: Engine) -> tuple[Engine, ...]:
    """Return the installed engines that run graphs, but the one of the run."""
    names = ("openvino", "onnxruntime") if have("openvino") else ("onnxruntime",)
    return tuple(Engine(name, engine.threads, cache=False) for name in names if name != engine.name)  # type: ignore[arg-type]


def scores_on_rows(
    engine: Engine, model: Model, folder: Path, rows: Sequence[Row], source: Judged, tell: Tell
) -> Mapping[str, ItemScores]:
    """Judge the graphs of a result in one more engine, on the test rows as they are.

    Args:
        engine: the engine.
        model: the result; its task and settings open the graphs.
        folder: the folder of the graphs.
        rows: test rows.
        source: what the source gave in the engine of the run.
        tell: hears of progress.
    """
    runner = open_runner(folder, {"task": model.family.task, "settings": dict(model.settings)}, engine)
    outputs = judge(runner, rows, lambda done, total: tell(f"judge in {engine.name}", done, total))
    return liken(source, outputs)


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
