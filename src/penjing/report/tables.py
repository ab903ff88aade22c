"""What the terminal shows: before and after, goals, coverage, towers. Text of models and data is never markup."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from penjing.report.coverage import coverage
from penjing.report.document import Document, GoalPart, InspectedTower, Inspection, MeasuresPart
from penjing.report.numbers import (
    NOTHING,
    bytes_text,
    count_text,
    factor_text,
    ms_text,
    seconds_text,
    share_text,
    shortfall_text,
    value_text,
)
from penjing.report.rows import ComparisonRow, compare_measures, comparison, shortened

WIDE = 96
"""Columns of a terminal from which all of the before/after table fits."""

COLOURS = {"good": "green", "bad": "red", "plain": ""}


def print_result(console: Console, document: Document) -> None:
    """Print the outcome of a compression: before and after, coverage, goals, verdict."""
    console.print(comparison_table(shortened(comparison(document)), console.width >= WIDE))
    console.print(_engine(document.result))
    console.print()
    if document.coverage:
        console.print(coverage_table(document))
        for line in left_lines(document):
            console.print(line)
        console.print()
    for warning in document.warnings:
        console.print(Text.assemble(("worth knowing: ", "yellow"), warning))
    if document.goals:
        console.print(goals_table(document.goals))
        console.print()
    console.print(verdict(document))


def print_evaluation(console: Console, found: Mapping[str, Any]) -> None:
    """Print what `evaluate` found: measures, alone or against those of a source, and goals."""
    measured, source = MeasuresPart.model_validate(found["measures"]), found["against"]
    rows = compare_measures(measured, None if source is None else MeasuresPart.model_validate(source))
    console.print(comparison_table(shortened(rows), console.width >= WIDE))
    console.print(_engine(measured))
    if found["goals"]:
        console.print(goals_table([GoalPart.model_validate(goal) for goal in found["goals"]]))


def print_inspection(console: Console, inspection: Mapping[str, Any]) -> None:
    """Print what `penjing inspect` found."""
    found = Inspection.model_validate(inspection)
    title = Text.assemble((found.architecture or "model", "bold"), f"  {found.family or ''}")
    console.print(Padding(title, (1, 0, 0, 0)))
    console.print(Text(f"{count_text(found.parameters)} parameters, {bytes_text(found.size_bytes)}", style="dim"))
    console.print(towers_table(found))
    for tie in _ties(found):
        console.print(Text(f"one copy of: {tie}", style="dim"))


def comparison_table(rows: Sequence[ComparisonRow], wide: bool = True) -> Table:
    """Before and after; columns that no row fills are left out, and the PyTorch column where it would not fit."""
    columns = [
        ("source", [Text(row.source) for row in rows]),
        ("result", [Text(row.result, style="bold") for row in rows]),
        ("change", [Text(row.change, style=COLOURS[row.tone]) for row in rows]),
        ("95% interval", [Text(row.interval, style="dim") for row in rows]),
    ]
    if wide:
        columns.insert(0, ("PyTorch float32", [Text(row.reference, style="dim") for row in rows]))
    shown = [(name, cells) for name, cells in columns if any(cell.plain != NOTHING for cell in cells)]
    table = _table(["measure"], [name for name, _ in shown])
    for index, row in enumerate(rows):
        table.add_row(Text(row.label), *(cells[index] for _, cells in shown))
    return table


def goals_table(goals: Sequence[GoalPart]) -> Table:
    """Every goal with its limit, what was reached, and any doubt."""
    table = _table(["goal"], ["limit", "reached"])
    table.add_column("")
    for goal in goals:
        mark, colour = ("✓", "green") if goal.met else ("✗", "red")
        limit, value = value_text(goal.metric, goal.limit), value_text(goal.metric, goal.value)
        table.add_row(Text(f"{mark} {goal.goal}", style=colour), limit, value, Text(goal.note, style="yellow"))
    return table


def coverage_table(document: Document) -> Table:
    """What was compressed in each tower, one line per method."""
    table = _table(["tower", "method"], ["bits", "sites", "parameters", "bytes", "error"])
    for tower in coverage(document):
        name = tower.tower or NOTHING
        for group in tower.compressed:
            size, error = bytes_text(group.size_bytes), share_text(group.worst_error)
            cells = (group.bits, str(group.sites), count_text(group.parameters), size, error)
            table.add_row(Text(name), Text(group.method), *cells)
            name = ""
    return table


def left_lines(document: Document) -> list[Text]:
    """What was left alone in each tower and why, one line per reason."""
    lines = []
    for tower in coverage(document):
        for left in tower.left:
            sites = left.sites[0] if len(left.sites) == 1 else f"{len(left.sites)} sites"
            size = f" ({count_text(left.parameters)})" if left.parameters else ""
            lines.append(Text(f"left alone in {tower.tower or NOTHING}: {sites}{size}: {left.reason}", style="dim"))
    return lines


def towers_table(inspection: Inspection) -> Table:
    """Towers of a model that was opened."""
    table = _table(["tower", "kind"], ["blocks", "params", "bytes", "MACs", "median", "share"])
    for tower in inspection.towers:
        table.add_row(
            Text(tower.name, style="bold"),
            Text(_kind(tower)),
            str(tower.blocks or NOTHING),
            count_text(tower.parameters),
            bytes_text(tower.size_bytes),
            count_text(tower.macs),
            ms_text(tower.p50_ms),
            share_text(tower.latency_share),
        )
    return table


def verdict(document: Document) -> Text:
    """One line that says whether it was published, then a line for every goal that was missed."""
    took = f" in {seconds_text(document.seconds)}" if document.seconds is not None else ""
    if document.published:
        before, after = document.source.size_bytes, document.result.size_bytes
        times = (document.source.p50_ms, document.result.p50_ms)
        on_disk = (document.source.checkpoint_bytes, document.result.checkpoint_bytes)
        sizes = {"float32": factor_text("size_bytes", before, after), "on disk": factor_text("size_bytes", *on_disk)}
        facts = [f"{factor} (source {kind})" for kind, factor in sizes.items() if factor != NOTHING]
        facts = facts if len(facts) > 1 else [factor for factor in sizes.values() if factor != NOTHING]
        told = ", ".join([*facts, *(fact for fact in [factor_text("p50_ms", *times)] if fact != NOTHING)])
        where = f" {document.artifact}" if document.artifact else ""
        return Text.assemble(("published", "bold green"), where, took, f": {told}" if told else "")
    reasons = [shortfall_text(goal) for goal in document.goals if not goal.met] + list(document.problems)
    return Text.assemble(("refused", "bold red"), f", nothing was published{took}", *(f"\n  {why}" for why in reasons))


def _table(left: Iterable[str], right: Iterable[str]) -> Table:
    """Make a table in the style of the house."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for name in left:
        table.add_column(name, overflow="fold")
    for name in right:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _kind(tower: InspectedTower) -> str:
    """Modality and role in one: `audio encoder`."""
    return f"{tower.modality} {tower.role}".strip()


def _engine(measures: MeasuresPart) -> Text:
    """Say which engine and how many threads."""
    return Text(f"measured in {measures.engine or 'an unnamed engine'}, {measures.threads} threads", style="dim")


def _ties(inspection: Inspection) -> list[str]:
    """List places that share their weights."""
    if isinstance(inspection.tied, bool):
        return ["output head and embedding"] if inspection.tied else []
    return [tie if isinstance(tie, str) else " = ".join(tie) for tie in inspection.tied]
