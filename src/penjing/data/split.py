"""Three disjoint parts of data: calibrate, select and judge. Judge rows are read by nobody before the gate."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from penjing.data.content import content_key, outline
from penjing.data.prose import TEXTS
from penjing.data.row import DataSet, Row
from penjing.data.rows import PARTS
from penjing.errors import DataError

BORDERS = (0.2, 0.4)
"""A row whose lot lies in [0, 0.2) calibrates, in [0.2, 0.4) selects, above it judges."""
FEWEST_ROWS = 5
NOTHING_TO_JUDGE = "give more rows to --data; a set that only calibrates goes to --calibration"
COUNTER = re.compile(r"#\d+$")


class Parts(NamedTuple):
    """Rows to calibrate with, to select by (float sites, strengths, early stop) and to judge."""

    calibrate: tuple[Row, ...]
    select: tuple[Row, ...]
    judge: tuple[Row, ...]


def split(data: DataSet) -> Parts:
    """Split into 20 : 20 : 60 by a hash of each row's id, or as the set itself says.

    A row keeps its part when other rows come, go or change places, on every machine; rows that share a file stay
    together. Only where the lots leave a part of a small set, or of a class, empty, it is given the nearest: the lowest
    lot for calibrate, the next for select, the highest for judge. So each part has every class of three rows or more.
    The same content in two parts is an error.
    """
    part_of = _fixed(data) if data.parts else _drawn(data, PARTS)
    parts = Parts(*(tuple(row for row in data.rows if part_of[row.id] == part) for part in PARTS))
    for part, rows in zip(PARTS, parts, strict=True):
        if not rows:
            hint = NOTHING_TO_JUDGE if part == "judge" else "give more data, or give --calibration its own set"
            raise DataError(f"{data.name} has no rows to {part}", hint=hint)
    check_disjoint(parts)
    return parts


def judging_rows(dataset: DataSet) -> tuple[Row, ...]:
    """The rows that may judge: all of them, but of a set that fixes its own parts only those it means to judge by.

    Raises:
        DataError: the set has none, as the built-in sets `calibration-*`, which are there for calibration alone.
    """
    rows = tuple(row for row in dataset.rows if dataset.parts.get(row.id, "judge") == "judge")
    if not rows:
        raise DataError(f"{dataset.name} has no rows to judge", hint=NOTHING_TO_JUDGE)
    return rows


def split_with_calibration(data: DataSet, calibration: DataSet) -> Parts:
    """Judge `data`; calibrate and select with `calibration`, half and half by the same lots.

    A set that fixes its own parts is taken at its word: of `data` only its judge rows are judged, of `calibration` its
    judge rows are left alone. So a built-in set gives the same numbers whatever it is calibrated with.
    """
    judged = judging_rows(data)
    part_of = _fixed(calibration) if calibration.parts else _drawn(calibration, PARTS[:2])
    first, second = (tuple(row for row in calibration.rows if part_of[row.id] == part) for part in PARTS[:2])
    for name, part, rows in ((calibration.name, "calibrate", first), (calibration.name, "select", second)):
        if not rows:
            raise DataError(f"{name} has no rows to {part}", hint="give more rows to --calibration")
    parts = Parts(first, second, judged)
    check_disjoint(parts)
    return parts


def check_disjoint(parts: Parts) -> None:
    """Refuse rows of equal content in two parts. Only rows whose texts (and lengths) are equal are decoded at all."""
    alike: dict[object, list[tuple[str, Row]]] = {}
    for part, rows in zip(PARTS, parts, strict=True):
        for row in rows:
            alike.setdefault(outline(row), []).append((part, row))
    for members in alike.values():
        if len({part for part, _ in members}) > 1:
            _check_contents(members)


def _check_contents(members: list[tuple[str, Row]]) -> None:
    first: dict[str, tuple[str, Row]] = {}
    for part, row in members:
        other_part, other = first.setdefault(content_key(row), (part, row))
        if other_part != part:
            raise DataError(
                f"rows {other.id!r} ({other_part}) and {row.id!r} ({part}) have the same content",
                hint="remove one of them: what was calibrated on cannot be judged",
            )


def _fixed(data: DataSet) -> Mapping[str, str]:
    """The set's own split; every row must be in it."""
    lost = next((row.id for row in data.rows if data.parts.get(row.id) not in PARTS), None)
    if lost is not None:
        raise DataError(f"{data.name}: row {lost!r} is in none of {', '.join(PARTS)}", hint="give every row a part")
    return data.parts


def _drawn(data: DataSet, names: tuple[str, ...]) -> dict[str, str]:
    """Deal rows to 20 : 20 : 60, or to halves, by their lots, the rows of a class among themselves."""
    lots = {bunch(row): lot(bunch(row)) for row in data.rows}
    if len(data.rows) < (FEWEST_ROWS if len(names) == len(PARTS) else len(names)) or len(lots) < len(names):
        raise DataError(
            f"{data.name} has {len(data.rows)} rows of {len(lots)} files, too few for {', '.join(names)}",
            hint=f"give at least {FEWEST_ROWS} different rows, or an own set to --calibration",
        )
    part_of = _dealt(lots, names)
    for members in _classes(data.rows):
        if len(members) >= len(names):
            part_of |= _dealt({name: lots[name] for name in members}, names)
    return {row.id: part_of[bunch(row)] for row in data.rows}


def _classes(rows: Iterable[Row]) -> Iterable[set[str]]:
    """What is dealt as one, by its label; none of what has no label."""
    found: dict[str, set[str]] = {}
    for row in rows:
        if row.fields.get("label"):
            found.setdefault(row.fields["label"], set()).add(bunch(row))
    return found.values()


def _dealt(lots: Mapping[str, float], names: tuple[str, ...]) -> dict[str, str]:
    """The part of each name by its lot; a part that would stay empty is given the nearest."""
    borders = BORDERS if len(names) == len(PARTS) else (0.5,)
    order = sorted(lots, key=lambda name: (lots[name], name))
    counts = [sum(lots[name] < border for name in order) for border in borders]
    for index in range(len(counts)):
        floor = counts[index - 1] + 1 if index else 1
        counts[index] = min(max(counts[index], floor), len(order) - len(counts) + index)
    ends = [*counts, len(order)]
    return {name: names[sum(place >= end for end in ends)] for place, name in enumerate(order)}


def bunch(row: Row) -> str:
    """What is dealt as one: the id without the counter that stands behind a file's later appearances or passages."""
    name = COUNTER.sub("", row.id)
    ending = row.file.name if isinstance(row.file, Path) else TEXTS
    return name if name.endswith(ending) else row.id


def lot(name: str) -> float:
    """A number in [0, 1) from the sha256 of a name."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:6], "big") / 2**48
