"""What each kind of shift cost: the change of a metric with its 95% interval, kind by kind."""

from __future__ import annotations

from penjing.report.document import Document, SlicePart
from penjing.report.numbers import difference_text, kind_of, label
from penjing.report.plots import LIMIT, MUTED, RESULT, as_svg, figure_of, name_rows, styled

MOST_METRICS = 6


@styled
def shift_plot(document: Document) -> str:
    """One panel per metric, one row per kind of shift: result minus source. Empty where nothing was shifted."""
    metrics = shown_metrics(document)
    if not metrics or document.shift is None:
        return ""
    panels = [(name, [kind for kind in document.shift.kinds if kind.metric == name]) for name in metrics]
    heights = [0.27 * len(kinds) + 0.55 for _, kinds in panels]
    figure, axes = figure_of(sum(heights) + 0.2, heights)
    for axis, (name, kinds) in zip(axes, panels, strict=True):
        for row, kind in enumerate(kinds):
            low, high = signed(name, kind)
            axis.plot([low, high], [row, row], color=RESULT, linewidth=2, solid_capstyle="round", alpha=0.55)
            axis.plot(_sign(name) * (kind.loss or 0.0), row, "o", color=RESULT, markersize=6)
        axis.axvline(0, color=MUTED, linewidth=0.8)
        for goal in document.goals:
            if goal.metric == f"shifted/{name}" and goal.limit is not None and goal.source is not None:
                axis.axvline(goal.limit - goal.source, color=LIMIT, linewidth=1.6)
        name_rows(axis, [f"{kind.value}  (n = {kind.n})" for kind in kinds])
        axis.xaxis.set_major_formatter(lambda value, _, name=name: difference_text(name, value, unit=False))
        axis.set_title(f"{label(name)}: result minus source", loc="left", fontsize=9.5, color=MUTED)
        axis.grid(axis="x", linewidth=0.6)
    return as_svg(figure, "Change of each metric under each kind of shift")


def shown_metrics(document: Document) -> list[str]:
    """Metrics of the shifted rows in their order, at most MOST_METRICS."""
    if document.shift is None:
        return []
    return list(dict.fromkeys(kind.metric for kind in document.shift.kinds))[:MOST_METRICS]


def signed(metric: str, part: SlicePart) -> tuple[float, float]:
    """The ends of the interval as changes of the metric, lower first."""
    ends = (_sign(metric) * (part.low or 0.0), _sign(metric) * (part.high or 0.0))
    return min(ends), max(ends)


def _sign(metric: str) -> float:
    """What turns a loss into a change of the metric."""
    return -1.0 if kind_of(metric).higher_is_better else 1.0
