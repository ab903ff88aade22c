"""Goals: what a result must reach to be published, written as `wer<=+0.01`, `perplexity<=+2%` or `size_bytes<=30%`.

NAME OPERATOR LIMIT; the operator is one of <= >= < >, and the limit is
    +0.01  -0.01   the source plus or minus so much            (absolute change)
    +2%    -10%    the source plus or minus a share of itself  (relative change)
    30%            a share of the source
    0.1            the number itself
Models of several tasks put the task before the name: `vqa/accuracy>=-0.01`; `shifted/` stands before a metric that is
measured on shifted test rows: `shifted/wer<=+0.02`.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from penjing.errors import RecipeError, did_you_mean
from penjing.evaluate.catalogue import KINDS, RESOURCES, SHIFTED, TASK_METRICS, metric_kind
from penjing.values import Measures, Metric

LimitKind = Literal["change", "relative", "share", "value"]

_PATTERN = re.compile(
    r"\s*(?P<metric>(?:[\w.-]+/)*\w+)\s*(?P<operator><=|>=|<|>)\s*(?P<sign>[+-]?)(?P<amount>[\d.]+(?:[eE][+-]?\d+)?)\s*(?P<percent>%?)\s*"
)
_HOLDS: Mapping[str, Callable[[float, float], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}
_HINT = "write NAME<=+0.01, NAME<=+2%, NAME<=30% or NAME<=0.1 (also >=, <, >)"
ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class GoalResult:
    """A goal, checked. A value that was not measured, or is not a number, never meets a goal."""

    goal: str
    metric: str
    source: float | None
    value: float | None
    limit: float | None
    met: bool
    note: str = ""
    worst: str = ""
    """The part of the model that a measure over several parts comes from."""

    def as_json(self) -> dict[str, Any]:
        """Return a plain dict; numbers that JSON cannot say are null."""
        return {name: _finite(getattr(self, name)) for name in self.__slots__}

    @property
    def shortfall(self) -> str:
        """By how much it was missed; empty where it was met."""
        if self.met:
            return ""
        if self.value is None or self.limit is None:
            return f"{self.goal}: {self.note}"
        return f"{self.goal} is {self.value:.4g}, limit {self.limit:.4g}{f' ({self.worst})' if self.worst else ''}"


@dataclass(frozen=True, slots=True)
class Goal:
    """One condition on one measure of the result, perhaps relative to the same measure of the source."""

    text: str
    metric: str
    operator: str
    kind: LimitKind
    amount: float

    @classmethod
    def parse(cls, text: str) -> Goal:
        """Read a goal; a typo in the name or the form is a RecipeError."""
        match = _PATTERN.fullmatch(text)
        amount = _number(match["amount"]) if match else None
        if match is None or amount is None:
            raise RecipeError(f"{text!r} is not a goal", hint=_HINT)
        metric_kind(match["metric"])
        percent, sign = bool(match["percent"]), match["sign"]
        kind: LimitKind = ("relative" if percent else "change") if sign else ("share" if percent else "value")
        amount = amount / 100 if percent else amount
        return cls("".join(text.split()), match["metric"], match["operator"], kind, -amount if sign == "-" else amount)

    def limit(self, source_value: float) -> float:
        """The number the result is held against, given the source's number."""
        match self.kind:
            case "change":
                return source_value + self.amount
            case "relative":
                return source_value + abs(source_value) * self.amount
            case "share":
                return source_value * self.amount
            case "value":
                return self.amount

    def require(self, available: Collection[str]) -> None:
        """Refuse a goal on a metric that the task does not have; resources are always there."""
        if self.metric not in RESOURCES and self.metric not in available:
            known = [*available, *RESOURCES]
            raise RecipeError(
                f"goal {self.text!r}: this task does not measure {self.metric!r}",
                hint=f"{did_you_mean(self.metric, known)} (measured: {', '.join(known)})",
            )

    def check(self, source: Measures, result: Measures, paired: Mapping[str, Metric] | None = None) -> GoalResult:
        """Hold a result against this goal. `paired` are the measured changes result - source with their intervals.

        The point estimate decides. The note says so where the 95% interval has the limit inside.
        """
        self.require(result.metrics)
        before, after = measured_value(source, self.metric), measured_value(result, self.metric)
        limit = self.amount if self.kind == "value" else None if before is None else self.limit(before)
        if after is None or limit is None:
            side = "result" if after is None else "source"
            return GoalResult(self.text, self.metric, before, after, limit, False, f"not measured for the {side}")
        if not (math.isfinite(after) and math.isfinite(limit)):
            return GoalResult(self.text, self.metric, before, after, limit, False, "not a finite number")
        doubt = self._doubt(limit, before, result.metrics.get(self.metric), (paired or {}).get(self.metric))
        note = "; ".join(filter(None, (doubt, self._wrong_way())))
        worst = _worst_part(result.metrics, self.metric)
        return GoalResult(self.text, self.metric, before, after, limit, self._holds(after, limit), note, worst)

    def _holds(self, value: float, limit: float) -> bool:
        """Compare; `<=` and `>=` forgive the rounding of `0.05 + 0.01`."""
        close = math.isclose(value, limit, rel_tol=ROUNDING, abs_tol=ROUNDING)
        return ("=" in self.operator) if close and value != limit else _HOLDS[self.operator](value, limit)

    def _wrong_way(self) -> str:
        """Warn of a goal that a ruined model meets with ease."""
        higher = metric_kind(self.metric).higher_is_better
        if self.operator.startswith(">") == higher:
            return ""
        return f"{self.metric} is better when {'higher' if higher else 'lower'}: this goal protects nothing"

    def _doubt(self, limit: float, before: float | None, after: Metric | None, change: Metric | None) -> str:
        """Say how many items were too few where an interval straddles the limit."""
        if self.kind == "value" and after is not None:
            low, high, count = after.low, after.high, after.n
        elif change is not None and before is not None:
            low, high, count = before + change.low, before + change.high, change.n
        else:
            return ""
        return f"not proven at n={count}" if low < limit < high else ""


def _worst_part(metrics: Mapping[str, Metric], name: str) -> str:
    """Which part has the lowest value of a measure, of parts that are named as in `encoder_model/cosine`."""
    if "/" in name or name not in metrics:
        return ""
    ending = f"/{name}"
    parts = {
        key.removesuffix(ending): metric.value
        for key, metric in metrics.items()
        if key.endswith(ending) and not key.startswith(SHIFTED)
    }
    return min(parts, key=lambda part: parts[part], default="")


def measured_value(measures: Measures, metric: str) -> float | None:
    """Look up a measure by name, a resource or a metric; None where it was not measured."""
    if metric in RESOURCES:
        found: float | None = getattr(measures, metric)
        return found
    return measures.metrics[metric].value if metric in measures.metrics else None


def parse_goals(texts: Iterable[str]) -> tuple[Goal, ...]:
    """Read several goals."""
    return tuple(Goal.parse(text) for text in texts)


def default_goals(metric_names: Collection[str]) -> tuple[Goal, ...]:
    """Goals of a run that names none: its task's metric within 1 point (perplexity 2%), and smaller files.

    A task is held to its own metric (see TASK_METRICS; tasks with prefixes each to theirs). Where none was measured,
    there was no data, and the outputs must keep a cosine of 0.99.
    """
    judged = [name for name in metric_names if name.rpartition("/")[2] in TASK_METRICS]
    chosen = judged or [name for name in metric_names if KINDS.get(name.rpartition("/")[2]) and name.endswith("cosine")]
    return parse_goals(f"{name}{metric_kind(name).allowance}" for name in [*chosen, "size_bytes"])


def _number(text: str) -> float | None:
    """Read a plain decimal number; None where it is not one."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _finite(value: object) -> object:
    """Replace what JSON cannot say by None."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
