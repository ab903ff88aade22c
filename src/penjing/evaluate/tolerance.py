"""How much of a metric may be lost: the tolerance of a goal, and what follows from it under shift and per slice.

A goal on clean test data, such as `wer<=+0.01`, says how much of a task's metric may be lost. Under shift twice as much
may be lost, and a slice of the data may lose three times as much: both are measured on fewer or harder items.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from penjing.evaluate.catalogue import SHIFTED, TASK_METRICS, metric_kind
from penjing.evaluate.goals import Goal

OUT_OF_RANGE = "shifted/out_of_range"
"""Largest share of a layer's activations outside of its calibrated range, under any kind of shift."""
SHIFT_FACTOR = 2.0
"""Multiple of the clean tolerance that may be lost on shifted rows."""
SLICE_FACTOR = 3.0
"""Multiple of the clean tolerance that a slice may lose."""
PERFECT_COSINE = 1.0
"""The cosine of a source with itself."""


@dataclass(frozen=True, slots=True)
class Tolerance:
    """What a goal allows a metric to lose: an `amount`, or with `relative` a share of the source's value."""

    metric: str
    amount: float
    relative: bool

    def absolute(self, source_value: float) -> float:
        """Return the loss allowed in the metric's own unit, given the value of the source."""
        return self.amount * abs(source_value) if self.relative else self.amount


def tolerance_of(goal: Goal) -> Tolerance | None:
    """Return what a goal allows its metric to lose; None where it sets no limit on a loss of a task's metric.

    `wer<=+0.01` allows 0.01, `perplexity<=+2%` and `accuracy>=98%` two percent of the source, `cosine>=0.99` 0.01.
    Goals on resources, goals in the direction that protects nothing, and fixed limits (`wer<=0.1`) give None.
    """
    name = goal.metric.rpartition("/")[2]
    if goal.metric.startswith(SHIFTED) or name not in (*TASK_METRICS, "cosine"):
        return None
    better = 1.0 if metric_kind(goal.metric).higher_is_better else -1.0
    if goal.operator.startswith(">") != (better > 0):
        return None
    match goal.kind:
        case "change":
            amount, relative = -better * goal.amount, False
        case "relative":
            amount, relative = -better * goal.amount, True
        case "share":
            amount, relative = better * (1.0 - goal.amount), True
        case "value":
            if name != "cosine":
                return None
            amount, relative = PERFECT_COSINE - goal.amount, False
    return Tolerance(goal.metric, max(amount, 0.0), relative)


def tolerances(goals: Iterable[Goal]) -> tuple[Tolerance, ...]:
    """Return the tolerances of all goals that set one."""
    return tuple(tolerance for goal in goals if (tolerance := tolerance_of(goal)) is not None)


def shift_goals(goals: Collection[Goal], *, ranges: bool = False) -> tuple[Goal, ...]:
    """Return a goal on `shifted/NAME` for each goal on NAME, at `SHIFT_FACTOR` times its tolerance.

    With `ranges`, where layers have calibrated ranges, also one on the activations that leave them: a metric over few
    rows of each kind hides what happens to rows of one kind. A metric that already has a goal on its shifted value gets
    no second one, and goals that protect no quality bring none.
    """
    explicit = {goal.metric for goal in goals}
    derived = tuple(
        _shift_goal(tolerance) for tolerance in tolerances(goals) if SHIFTED + tolerance.metric not in explicit
    )
    if not ranges or not tolerances(goals) or OUT_OF_RANGE in explicit:
        return derived
    return (*derived, Goal.parse(f"{OUT_OF_RANGE}{metric_kind(OUT_OF_RANGE).allowance}"))


def _shift_goal(tolerance: Tolerance) -> Goal:
    name, higher = SHIFTED + tolerance.metric, metric_kind(tolerance.metric).higher_is_better
    sign, allowed = ("-" if higher else "+"), SHIFT_FACTOR * tolerance.amount
    if tolerance.metric.rpartition("/")[2] == "cosine":
        limit = f"{PERFECT_COSINE - allowed:g}"
    else:
        limit = f"{sign}{100 * allowed:g}%" if tolerance.relative else f"{sign}{allowed:g}"
    return Goal.parse(f"{name}{'>=' if higher else '<='}{limit}")


def loss(metric: str, source_value: float, result_value: float) -> float:
    """Return by how much the result is worse than the source, in the metric's own unit; negative where it is better."""
    change = result_value - source_value
    return -change if metric_kind(metric).higher_is_better else change
