"""Judge source and result on test rows: as they are, under shift, and slice by slice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from penjing.data.row import Row
from penjing.data.shifts.rows import ShiftedSet
from penjing.evaluate.interval import ItemScores
from penjing.evaluate.slices import SliceResult, judge_slices, slices_of
from penjing.evaluate.tolerance import Tolerance, tolerances
from penjing.judge.languages import language_warnings
from penjing.judge.quality import judge, liken
from penjing.judge.shift import ShiftResult, shift_result, shift_test_rows, shifted_scores
from penjing.judge.speed import item_latencies
from penjing.judge.tasks import Judged
from penjing.pipeline.choices import Choices
from penjing.pipeline.job import Job
from penjing.values import Latency, Tell

Scores = dict[str, Mapping[str, ItemScores]]
"""`source` and `result` -> scores by metric name."""


@dataclass(frozen=True, slots=True)
class JudgingPlan:
    """What source and result are judged on.

    `shifted` are the rows under one corruption each, None where shift is left out. `tolerances` are what slices may
    lose of each metric.
    """

    rows: Sequence[Row]
    shifted: ShiftedSet | None = None
    seed: int = 0
    tolerances: tuple[Tolerance, ...] = ()


@dataclass(frozen=True, slots=True)
class Judgement:
    """Scores of source and result, clean and shifted, their times, and what groups of rows lost."""

    scores: Scores
    outputs: Mapping[str, Judged] = field(default_factory=dict)
    speeds: Mapping[str, Latency] = field(default_factory=dict)
    shift: ShiftResult | None = None
    slices: tuple[SliceResult, ...] = ()
    small_slices: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def judging_plan(job: Job, task: str | None, choices: Choices, tell: Tell) -> JudgingPlan:
    """Return what a run judges on; the shifted rows are written to the folder where its work is kept."""
    seed, shifted = choices.recipe.seed, None
    if choices.shift and task is not None:
        tell("shift the test rows", 0, 0)
        shifted = shift_test_rows(task, choices.rows, seed, job.work / "shifted")
    return JudgingPlan(choices.rows, shifted, seed, tolerances(choices.goals))


def judge_runners(runners: Mapping[str, Any], plan: JudgingPlan, threads: int, tell: Tell) -> Judgement:
    """Judge the runners `source` and `result` by a plan, then time items of the first rows in turns."""
    outputs = _judge_each(runners, plan.rows, "judge", tell)
    clean = _scores_of(outputs)
    scores, shift = clean, None
    if plan.shifted is not None:
        rows = [row.row for row in plan.shifted.rows]
        under_shift = _scores_of(_judge_each(runners, rows, "judge under shift:", tell))
        shift = shift_result(plan.shifted, plan.seed, under_shift["source"], under_shift["result"])
        scores = {name: {**clean[name], **shifted_scores(under_shift[name])} for name in clean}
    slices, small = judge_slices(plan.tolerances, clean["source"], clean["result"], slices_of(plan.rows))
    tell("time items", 0, 0)
    speeds = item_latencies(runners, plan.rows, threads)
    warnings = language_warnings(runners["source"], plan.rows)
    return Judgement(scores, outputs, speeds, shift, tuple(slices), tuple(small), tuple(warnings))


def _judge_each(runners: Mapping[str, Any], rows: Sequence[Row], label: str, tell: Tell) -> dict[str, Judged]:
    return {
        name: judge(runner, rows, lambda done, total, name=name: tell(f"{label} {name}", done, total))  # type: ignore[misc]
        for name, runner in runners.items()
    }


def _scores_of(outputs: Mapping[str, Judged]) -> Scores:
    return {"source": outputs["source"].scores, "result": liken(outputs["source"], outputs["result"])}
