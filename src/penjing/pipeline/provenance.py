"""What a result was calibrated and judged on: names, sizes, sources, and what both have in common."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from penjing.data.row import Row
from penjing.pipeline.job import Job
from penjing.pipeline.material import RangeRows
from penjing.recipe import Recipe

COLUMNS = ("source", "language", "speaker")
"""Columns that say where a row comes from."""
SHARED = ("speaker", "source")
"""Columns of which calibration and test should have no value in common."""
MOST_VALUES = 20
"""Values of a column that are listed."""


def data_json(job: Job, seen: Sequence[Row], ranges: RangeRows | None, augmented: bool) -> dict[str, Any] | None:
    """Return the part `data` of a report: the set, the rows of its parts, where they come from, what was added.

    Args:
        job: what was asked for.
        seen: the rows that steps may have seen (`seen_rows`).
        ranges: rows for steps that round activations, if any do.
        augmented: whether these were augmented.
    """
    if job.parts is None:
        return None
    return {
        "name": job.data.name if job.data else "calibration only",
        **{part: len(getattr(job.parts, part)) for part in ("calibrate", "select", "judge")},
        "builtin": ranges.material.sets if ranges else {},
        "augmented": augmented,
        "calibrated_on": _composition(seen),
        "judged_on": _composition(job.parts.judge),
    }


def seen_rows(job: Job, recipe: Recipe, ranges: RangeRows | None) -> Sequence[Row]:
    """Return every row that a step may have seen, built-in ones too, each once."""
    if job.parts is None:
        return ()
    calibrating = job.parts.calibrate if any(step.method.needs_data for step in recipe.steps) else ()
    builtin = (*ranges.material.rows, *ranges.material.validation) if ranges else ()
    return [*{id(row): row for row in (*calibrating, *builtin, *job.parts.select)}.values()]


def shared_warnings(calibration: Iterable[Row], test: Sequence[Row]) -> list[str]:
    """Warn of speakers and sources that calibration and test share: what is lost on others is not known."""
    rows = list(calibration)
    shared = []
    for column in SHARED:
        common = _values(rows, column) & _values(test, column)
        if common:
            shared.append(f"the {column} {', '.join(sorted(common)[:MOST_VALUES])}")
    if not shared:
        return []
    return [f"calibration and test share {' and '.join(shared)}: others may lose more than was measured"]


def _values(rows: Iterable[Row], column: str) -> set[str]:
    return {row.fields[column] for row in rows if row.fields.get(column)}


def _composition(rows: Sequence[Row]) -> Mapping[str, Mapping[str, int]]:
    """Column -> value -> number of rows, of the columns that say where rows come from."""
    counts = {column: Counter(row.fields[column] for row in rows if row.fields.get(column)) for column in COLUMNS}
    return {column: dict(count.most_common(MOST_VALUES)) for column, count in counts.items() if count}
