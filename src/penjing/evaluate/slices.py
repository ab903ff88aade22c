"""Metrics per slice of the data: by language, speaker, label or source, and by kind of shift."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from penjing.data.row import Row
from penjing.evaluate.interval import ItemScores, paired_difference
from penjing.evaluate.tolerance import SLICE_FACTOR, Tolerance, loss

SLICE_COLUMNS = ("language", "speaker", "label", "source")
"""Columns that slice a data set."""
MIN_SLICE_ITEMS = 5
"""Items below which a slice is named and not judged: an interval of fewer says nothing."""


@dataclass(frozen=True, slots=True)
class SliceResult:
    """A metric of source and result on one slice, and the loss with its 95% interval.

    `loss`, `low` and `high` are in the metric's own unit and positive where the result is worse. `allowed` is what the
    slice may lose; `refused` says that it lost more, and that the interval lies above the clean tolerance.
    """

    column: str
    value: str
    metric: str
    source: float
    result: float
    loss: float
    low: float
    high: float
    n: int
    allowed: float | None = None
    refused: bool = False

    def as_json(self) -> dict[str, Any]:
        """Return a plain dict."""
        return {name: getattr(self, name) for name in self.__slots__}

    def reason(self) -> str:
        """Return why the slice refuses the result."""
        return (
            f"{self.column} {self.value}: {self.metric} {self.source:.4g} → {self.result:.4g} on {self.n} items, "
            f"a loss of {self.loss:.4g} (95% {self.low:.4g} to {self.high:.4g}) where {self.allowed:.4g} is allowed"
        )


def slices_of(rows: Sequence[Row]) -> dict[tuple[str, str], frozenset[str]]:
    """Return (column, value) -> ids of the rows, for every slice column that has two values or more."""
    slices: dict[tuple[str, str], frozenset[str]] = {}
    for column in SLICE_COLUMNS:
        members: dict[str, set[str]] = {}
        for row in rows:
            if row.fields.get(column):
                members.setdefault(row.fields[column], set()).add(row.id)
        if len(members) > 1 or sum(map(len, members.values())) < len(rows):
            slices |= {(column, value): frozenset(ids) for value, ids in sorted(members.items())}
    return slices


def judge_slices(
    tolerances: Collection[Tolerance],
    source: Mapping[str, ItemScores],
    result: Mapping[str, ItemScores],
    slices: Mapping[tuple[str, str], frozenset[str]],
) -> tuple[list[SliceResult], list[str]]:
    """Judge every slice by every metric that has a tolerance.

    Returns the slices with `MIN_SLICE_ITEMS` items or more, and the names of those that have fewer.
    """
    judged: list[SliceResult] = []
    small: dict[str, None] = {}
    for tolerance in tolerances:
        for (column, value), row_ids in slices.items():
            change = slice_result((column, value), tolerance.metric, source, result, row_ids)
            if change is None:
                continue
            if change.n < MIN_SLICE_ITEMS:
                small[f"{column} {value}"] = None
                continue
            limit = tolerance.absolute(change.source)
            allowed = SLICE_FACTOR * limit
            refused = not (change.loss <= allowed or change.low <= limit)  # a loss that is not a number refuses
            judged.append(replace(change, allowed=allowed, refused=refused))
    return judged, [*small]


def slice_result(
    key: tuple[str, str],
    metric: str,
    source: Mapping[str, ItemScores],
    result: Mapping[str, ItemScores],
    row_ids: frozenset[str],
) -> SliceResult | None:
    """Compare source and result on the items of some rows; None where the slice has no item of this metric.

    A metric that only the result has (the cosine to its source) is compared with the value 1.
    """
    if metric not in result:
        return None
    after = result[metric].subset(row_ids)
    count = len(after.numerator)
    if not count:
        return None
    before = source[metric].subset(row_ids) if metric in source else replace(after, numerator=np.ones(count))
    change = paired_difference(before, after)
    low, high = sorted((loss(metric, 0.0, change.low), loss(metric, 0.0, change.high)))
    lost = loss(metric, 0.0, change.value)
    return SliceResult(*key, metric, before.value, after.value, lost, low, high, count)
