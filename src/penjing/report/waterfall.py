"""The waterfall of a run: what each step took away from bytes and milliseconds, and what it cost of each metric."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from penjing.report.document import Document, StagePart
from penjing.report.numbers import kind_of, label, value_text
from penjing.report.plots import LINE, MUTED, RESULT, SOURCE, as_svg, figure_of, name_rows, styled

MOST_METRICS = 6
ROOM = 1.22
"""Width of a panel in largest values: the numbers stand behind the bars."""


@styled
def steps_plot(document: Document) -> str:
    """One panel for bytes, one for milliseconds, one for each metric; a row per step. Empty where nothing was shown."""
    stages = document.stages
    if len(stages) < 3:
        return ""
    names = ["size_bytes", "p50_ms", *[*stages[0].metrics][:MOST_METRICS]]
    panels = [(name, [_value(stage, name) for stage in stages]) for name in names]
    panels = [(name, values) for name, values in panels if all(value is not None for value in values)]
    height = 0.25 * len(stages) + 0.45
    figure, axes = figure_of(height * len(panels) + 0.3, [height] * len(panels))
    for axis, (name, values) in zip(axes, panels, strict=True):
        _falls(axis, name, [value or 0.0 for value in values])
        name_rows(axis, [stage.name if place == 0 else f"{place}. {stage.name}" for place, stage in enumerate(stages)])
        axis.set_title(label(name), loc="left", fontsize=9.5, color=MUTED)
    return as_svg(figure, "Bytes, milliseconds and metrics after each step")


def _value(stage: StagePart, name: str) -> float | None:
    return stage.metrics[name] if name in stage.metrics else getattr(stage, name, None)


def _falls(axis: Any, name: str, values: Sequence[float]) -> None:
    """What is left as a bar from zero, what changed as one from what was there before."""
    most = max(values) or 1.0
    before = values[0]
    for place, value in enumerate(values):
        better = value > before if kind_of(name).higher_is_better else value < before
        axis.barh(place, min(value, before), height=0.55, color=SOURCE if place == 0 else RESULT, linewidth=0)
        if value != before:
            low, high = sorted((value, before))
            axis.barh(place, high - low, left=low, height=0.55, color=LINE if better else MUTED, alpha=0.6, linewidth=0)
        axis.text(max(value, before) + most * 0.012, place, value_text(name, value), va="center", fontsize=9)
        before = value
    axis.set_xlim(0, most * ROOM)
    axis.xaxis.set_visible(False)
    axis.spines["bottom"].set_visible(False)
    axis.axvline(0, color=MUTED, linewidth=0.8)
