"""Rows of the before/after table, worked out once for the terminal, the page and the card."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from penjing.evaluate.catalogue import RESOURCES, SHIFTED, TASK_METRICS
from penjing.report.document import Document, MeasuresPart, MetricPart
from penjing.report.numbers import NOTHING, difference_text, factor_text, kind_of, label, value_text

Tone = Literal["good", "bad", "plain"]


@dataclass(frozen=True, slots=True)
class ComparisonRow:
    """One measure before and after, as text. `met` is None where no goal names it.

    The tone is plain where nothing is sure: within the interval, or worse by less than a goal allows.
    """

    metric: str
    label: str
    reference: str
    source: str
    result: str
    change: str
    interval: str
    tone: Tone
    goals: tuple[str, ...] = ()
    met: bool | None = None
    notes: tuple[str, ...] = ()


def comparison(document: Document) -> list[ComparisonRow]:
    """Compare source and result on everything that either was measured by: resources first, then metrics."""
    return [row for metric in _measured_names(document) if (row := _row(document, metric)) is not None]


def shortened(rows: list[ComparisonRow]) -> list[ComparisonRow]:
    """What a terminal shows: of a model that does many tasks only what each is judged by, and recall at 1 each way."""
    names = [row.metric.removeprefix(SHIFTED) for row in rows]
    if len({name.partition("/")[0] for name in names if "/" in name}) < 2:
        return rows
    return [
        row
        for row in rows
        if row.met is not None or "/" not in row.metric or row.metric.endswith((*TASK_METRICS, "_recall_at_1"))
    ]


def headlines(document: Document) -> list[ComparisonRow]:
    """Pick the rows a person asks for first: size, time, and what the task is judged by."""
    rows = {row.metric: row for row in comparison(document)}
    metrics = [name for name in rows if name not in RESOURCES]
    judged = [name for name in metrics if name.rpartition("/")[2] in TASK_METRICS and not name.startswith(SHIFTED)]
    judged = judged or metrics
    return [rows[name] for name in ("size_bytes", "p50_ms", *judged[:1]) if name in rows]


def compare_measures(result: MeasuresPart, source: MeasuresPart | None) -> list[ComparisonRow]:
    """Compare two measures without a gate, as `penjing evaluate --against` does; without a source, show one side."""
    return comparison(Document(published=True, source=source or MeasuresPart(), result=result))


def value_of(measures: MeasuresPart | None, metric: str) -> float | None:
    """Look up a resource or a metric; None where it was not measured."""
    if measures is None:
        return None
    if metric in RESOURCES:
        found: float | None = getattr(measures, metric)
        return found
    return measures.metrics[metric].value if metric in measures.metrics else None


def _measured_names(document: Document) -> list[str]:
    """List what either side was measured by, resources first."""
    metrics = dict.fromkeys([*document.source.metrics, *document.result.metrics])
    return [*RESOURCES, *metrics]


def _row(document: Document, metric: str) -> ComparisonRow | None:
    """Compare one measure; None where neither side has it."""
    before, after = value_of(document.source, metric), value_of(document.result, metric)
    if before is None and after is None:
        return None
    goals = [goal for goal in document.goals if goal.metric == metric]
    change = document.changes.get(metric)
    if metric in RESOURCES:
        change_text = factor_text(metric, before, after)
    else:
        change_text = difference_text(metric, None if before is None or after is None else after - before)
    met = all(goal.met for goal in goals) if goals else None
    return ComparisonRow(
        metric=metric,
        label=label(metric),
        reference=value_text(metric, value_of(document.reference, metric)),
        source=value_text(metric, before),
        result=value_text(metric, after),
        change=change_text,
        interval=_interval_text(metric, change),
        tone=_tone(metric, (before, after), change, met),
        goals=tuple(goal.goal for goal in goals),
        met=met,
        notes=tuple(goal.note for goal in goals if goal.note),
    )


def _interval_text(metric: str, change: MetricPart | None) -> str:
    """The 95% interval of a paired change."""
    if change is None or change.low is None or change.high is None:
        return NOTHING
    low, high = (difference_text(metric, end, unit=False) for end in (change.low, change.high))
    return f"{low} … {high}"


def _tone(metric: str, values: tuple[float | None, float | None], change: MetricPart | None, met: bool | None) -> Tone:
    """Whether a change is worth a colour."""
    before, after = values
    if before is None or after is None or before == after:
        return "plain"
    unsure = (
        change is not None and change.low is not None and change.high is not None and change.low <= 0 <= change.high
    )
    if (after > before) == kind_of(metric).higher_is_better:
        return "plain" if unsure else "good"
    return "bad" if met is False or (met is None and not unsure) else "plain"
