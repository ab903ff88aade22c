"""Plots as inline SVG whose colours are CSS variables, so that one drawing suits a light and a dark page."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

from penjing.evaluate.catalogue import RESOURCES
from penjing.extras import need
from penjing.report.document import Document, MetricPart, SitePart, TowerPart
from penjing.report.numbers import factor_text, kind_of, label, value_text

INK, LINE, MUTED, SOURCE, RESULT, LIMIT = (f"#00000{digit}" for digit in "123456")
SERIES = tuple(f"#00001{digit}" for digit in "123456")
VARIABLES = {
    **dict(
        zip(
            (INK, LINE, MUTED, SOURCE, RESULT, LIMIT),
            ("ink", "line", "muted", "source", "result", "limit"),
            strict=True,
        )
    ),
    **{colour: f"series-{number}" for number, colour in enumerate(SERIES, 1)},
}
"""Stand-in colours while drawing -> CSS variables in the page."""

WIDTH_INCHES = 10.0
MOST_SITES = 24
STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "penjing",
    "text.parse_math": False,
    "font.size": 9.5,
    "axes.edgecolor": LINE,
    "axes.labelcolor": MUTED,
    "xtick.color": LINE,
    "xtick.labelcolor": MUTED,
    "ytick.color": LINE,
    "ytick.labelcolor": INK,
    "text.color": INK,
    "grid.color": LINE,
}


def styled(draw: Callable[[Document], str]) -> Callable[[Document], str]:
    """Draw in the style of the house, whatever the user's matplotlib settings are.

    Warnings of glyphs that matplotlib's font lacks are dropped: text stays text, and the browser has its own fonts.
    """

    @wraps(draw)
    def drawn(document: Document) -> str:
        with need("matplotlib", "report").rc_context(STYLE), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph")
            return draw(document)

    return drawn


@styled
def bytes_plot(document: Document) -> str:
    """Bytes of every tower before and after; empty where not measured."""
    towers = [
        tower for tower in document.towers if tower.size_bytes_before is not None and tower.size_bytes_after is not None
    ]
    pairs = [(tower.size_bytes_before or 0, tower.size_bytes_after or 0) for tower in towers]
    return _tower_bars(towers, pairs, "size_bytes", "Bytes of each tower before and after")


@styled
def ms_plot(document: Document) -> str:
    """Milliseconds of every tower before and after; empty where not measured."""
    towers = [tower for tower in document.towers if tower.p50_ms_before is not None and tower.p50_ms_after is not None]
    pairs = [(tower.p50_ms_before or 0.0, tower.p50_ms_after or 0.0) for tower in towers]
    return _tower_bars(towers, pairs, "p50_ms", "Milliseconds of each tower before and after")


@styled
def quality_plot(document: Document) -> str:
    """Every metric of source and result with its 95% interval; metrics that are shares sit on one axis."""
    names = [name for name in document.result.metrics if name in document.source.metrics]
    shares = [name for name in names if kind_of(name).unit == "share"]
    panels = [group for group in (shares, *([name] for name in names if name not in shares)) if group]
    if not panels:
        return ""
    heights = [0.45 * len(group) + 0.25 for group in panels]
    figure, axes = figure_of(sum(heights) + 0.3 * len(panels) + 0.35, heights)
    for axis, group in zip(axes, panels, strict=True):
        for place, name in enumerate(group):
            _metric_row(axis, place, document, name)
        name_rows(axis, [label(name) for name in group])
        axis.xaxis.set_major_formatter(lambda value, _, name=group[0]: _tick(name, value))
        axis.grid(axis="x", linewidth=0.6)
    handles = [_marker(axes[0], SOURCE, "source"), _marker(axes[0], RESULT, "result")]
    if document.goals:
        handles.append(_marker(axes[0], LIMIT, "limit of the goal", "|"))
    _legend(figure, handles)
    return as_svg(figure, "Quality of source and result with 95% intervals")


@styled
def sites_plot(document: Document) -> str:
    """Relative error of the compressed sites, largest first, coloured by method; at most MOST_SITES of them."""
    done = [site for site in document.coverage if not site.skipped and site.error]
    if not done:
        return ""
    worst = sorted(done, key=lambda site: site.error or 0.0, reverse=True)[:MOST_SITES]
    methods = list(dict.fromkeys(site.method for site in worst))
    figure, (axis,) = figure_of(0.235 * len(worst) + 0.75, [1])
    for method, colour in zip(methods, SERIES * len(methods), strict=False):
        _site_dots(axis, [(place, site) for place, site in enumerate(worst) if site.method == method], colour)
    name_rows(axis, [site.site for site in worst])
    axis.tick_params(axis="y", labelsize=8.5)
    axis.set_xlim(0, (worst[0].error or 0.0) * 1.12)
    axis.xaxis.set_major_formatter(lambda value, _: _tick("wer", value))
    axis.grid(axis="x", linewidth=0.6)
    handles = [_marker(axis, colour, method) for method, colour in zip(methods, SERIES * len(methods), strict=False)]
    _legend(figure, handles)
    return as_svg(figure, "Relative error of the most changed sites")


def _tower_bars(towers: Sequence[TowerPart], pairs: Sequence[tuple[float, float]], metric: str, title: str) -> str:
    """Draw two bars per tower, the source above the result, each with its number."""
    if not any(max(pair) for pair in pairs):
        return ""
    figure, (axis,) = figure_of(0.62 * len(towers) + 0.4, [1])
    most = max(max(pair) for pair in pairs)
    for place, pair in enumerate(pairs):
        for value, shift, colour in zip(pair, (-0.19, 0.19), (SOURCE, RESULT), strict=True):
            axis.barh(place + shift, value, height=0.32, color=colour, linewidth=0)
            text = value_text(metric, value)
            if colour == RESULT:
                text += f"  ({factor_text(metric, *pair)})"
            axis.text(value + most * 0.012, place + shift, text, va="center", fontsize=9)
    name_rows(axis, [tower.name for tower in towers])
    axis.set_xlim(0, most * 1.14)
    axis.xaxis.set_visible(False)
    axis.spines["bottom"].set_visible(False)
    axis.axvline(0, color=MUTED, linewidth=0.8)
    _legend(figure, [_marker(axis, SOURCE, "source", "s"), _marker(axis, RESULT, "result", "s")])
    return as_svg(figure, title)


def _metric_row(axis: Any, place: int, document: Document, name: str) -> None:
    """Draw source and result of one metric with their intervals, and the limits of its goals."""
    for measures, shift, colour in ((document.source, -0.13, SOURCE), (document.result, 0.13, RESULT)):
        metric = measures.metrics[name]
        if metric.value is not None:
            low, high = _ends(metric)
            axis.plot([low, high], [place + shift] * 2, color=colour, linewidth=2, solid_capstyle="round", alpha=0.55)
            axis.plot(metric.value, place + shift, "o", color=colour, markersize=6.5)
    for goal in document.goals:
        if goal.metric == name and goal.limit is not None and name not in RESOURCES:
            axis.plot([goal.limit] * 2, [place - 0.34, place + 0.34], color=LIMIT, linewidth=1.6)


def _site_dots(axis: Any, sites: Sequence[tuple[int, SitePart]], colour: str) -> None:
    """Draw a stem and a dot per site."""
    places, errors = [place for place, _ in sites], [site.error for _, site in sites]
    axis.hlines(places, 0, errors, color=colour, linewidth=1.4, alpha=0.4)
    axis.plot(errors, places, "o", color=colour, markersize=5.5)


def _ends(metric: MetricPart) -> tuple[float, float]:
    """Ends of the interval, or the value itself."""
    value = metric.value or 0.0
    return (value if metric.low is None else metric.low, value if metric.high is None else metric.high)


def name_rows(axis: Any, names: Sequence[str]) -> None:
    """Name the rows from top to bottom."""
    axis.set_yticks(range(len(names)), names)
    axis.set_ylim(len(names) - 0.5, -0.5)
    axis.tick_params(axis="y", length=0)
    for side in ("top", "right", "left"):
        axis.spines[side].set_visible(False)


def _marker(axis: Any, colour: str, name: str, shape: str = "o") -> Any:
    """Make an entry for the legend."""
    text = name.encode("ascii", "replace").decode()
    (line,) = axis.plot(
        [], [], shape, color=colour, label=text, markersize=7, markeredgewidth=1.8 if shape == "|" else 0
    )
    return line


def _tick(metric: str, value: float) -> str:
    """Write a number on an axis."""
    return f"{value * 100:.4g}%" if kind_of(metric).unit == "share" else f"{value:.4g}"


def _legend(figure: Any, handles: Sequence[Any]) -> None:
    """Put the legend above the panels, in one line."""
    figure.legend(
        handles=handles,
        loc="outside upper right",
        ncols=4,
        fontsize=9,
        frameon=False,
        labelcolor=INK,
        handletextpad=0.1,
    )


def figure_of(height: float, panels: Sequence[float]) -> tuple[Any, Any]:
    """Make a figure of stacked panels with the given heights, in inches and ratios."""
    figure = need("matplotlib.figure", "report").Figure(figsize=(WIDTH_INCHES, height), layout="constrained")
    axes = figure.subplots(len(panels), 1, squeeze=False, gridspec_kw={"height_ratios": panels})[:, 0]
    for axis in axes:
        axis.set_axisbelow(True)
        axis.patch.set_alpha(0)
    return figure, axes


def as_svg(figure: Any, title: str) -> str:
    """Write a figure as an SVG element without size, date or font, in the colours of the page."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue()
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    for colour, variable in VARIABLES.items():
        svg = svg.replace(colour, f"var(--{variable})")
    return svg.replace("<svg ", f'<svg role="img" aria-label="{title}" ', 1)
