"""Rows that the ranges of activations are calibrated on: the user's, built-in material of the task, both augmented."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from penjing.data.content import content_key, outline
from penjing.data.row import Row
from penjing.data.shifts.augment import augmented_rows
from penjing.data.source import load_dataset
from penjing.judge.sight import USES, is_read
from penjing.judge.tasks import task_of
from penjing.models.family import Model
from penjing.models.tower import Batch

MOST_ROWS_PER_SET = 24
"""Rows taken of one built-in set, the same every time: ranges hardly grow with more of one source."""
VALIDATION_ROWS = 4
"""Rows of a built-in set that choices are made on."""
MODALITY_SETS: Mapping[str, tuple[str, ...]] = {
    "audio": ("calibration-audio", "speech"),
    "image": ("calibration-images", "pictures"),
    "text": ("calibration-text", "text"),
}
"""Built-in sets by what a model is fed with. Of a set that judges too, only the calibration part is taken."""
OWN_SETS: Mapping[str, tuple[str, ...]] = {"multimodal": ("scenes",)}
"""Built-in sets of tasks that have a world of their own."""


@dataclass(frozen=True, slots=True)
class Material:
    """Rows for calibrating ranges.

    `rows` are the calibration part of the user's data, then built-in rows. `validation` are built-in rows apart from
    these: what must stay float is chosen on them beside the user's validation part. `sets` has the number of rows of
    each built-in set among both.
    """

    rows: tuple[Row, ...]
    validation: tuple[Row, ...]
    sets: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class RangeRows:
    """Rows that ranges are measured on, and how they are augmented: seed, and folder of the augmented media."""

    material: Material
    task: str
    seed: int
    folder: Path

    def batches(self, model: Model, *, augment: bool) -> list[Batch]:
        """Return the rows as the model reads them, with their augmented copies or alone."""
        return self._read(model, self._augmented(self.material.rows) if augment else self.material.rows)

    def validation(self, model: Model, batches: Sequence[Batch], *, augment: bool) -> list[Batch]:
        """Return the batches of the user's validation part and those of built-in rows, in turns.

        Of the built-in rows every second one is augmented, so that choices are made for what calibration prepared for.
        """
        rows = list(self.material.validation)
        if augment:
            rows[1::2] = self._augmented(rows[1::2])[len(rows[1::2]) :]
        added = self._read(model, rows)
        return [batch for pair in itertools.zip_longest(batches, added) for batch in pair if batch is not None]

    def _augmented(self, rows: Sequence[Row]) -> list[Row]:
        return [*rows, *augmented_rows(rows, task_of(self.task).inputs, self.seed, self.folder)]

    def _read(self, model: Model, rows: Sequence[Row]) -> list[Batch]:
        return list(model.family.batches(model.settings, model.folder, rows)) if rows else []

    def count(self, *, augment: bool) -> int:
        """Return the number of batches without making them."""
        return len(self.material.rows) * (1 + augment)


def range_material(
    task: str, settings: Mapping[str, Any], calibration: Sequence[Row], exclude: Iterable[Row], builtin: bool
) -> Material:
    """Return the rows that ranges are calibrated on.

    Args:
        task: the model's task.
        settings: what the runtime knows of the model; it says which modalities the model is fed with.
        calibration: calibration part of the user's data.
        exclude: validation and test rows. Built-in rows of equal content are left out.
        builtin: whether built-in rows are added; they are not where the user names a set of their own to calibrate on.
    """
    if not builtin:
        return Material(tuple(calibration), (), {})
    rows, validation, sets = list(calibration), list[Row](), dict[str, int]()
    taken = _Contents([*calibration, *exclude])
    for name in _set_names(task, settings):
        to_calibrate, to_validate = (
            [_named(name, row, settings) for row in _part(task, name, part, count) if row not in taken]
            for part, count in (("calibrate", MOST_ROWS_PER_SET), ("select", VALIDATION_ROWS))
        )
        rows += to_calibrate
        validation += to_validate
        sets[name] = len(to_calibrate) + len(to_validate)
    return Material(tuple(rows), tuple(validation), sets)


def validation_material(material: Material) -> Material:
    """Return the material of a recipe that calibrates nothing: its validation rows, counted by the set in their id."""
    counts = Counter(row.id.partition("/")[0] for row in material.validation)
    return Material((), material.validation, {name: counts[name] for name in material.sets})


def _set_names(task: str, settings: Mapping[str, Any]) -> Collection[str]:
    """Names of the built-in sets that fit a task and what its model is fed with."""
    if task in OWN_SETS:
        return OWN_SETS[task]
    modality = next((name for name in ("image", "audio") if settings.get(name)), "text")
    return MODALITY_SETS[modality]


def _part(task: str, name: str, part: str, count: int) -> list[Row]:
    """Rows of one part of a built-in set that a task can read, at most `count`, spread over the set."""
    dataset = load_dataset(name)
    rows = [row for row in dataset.rows if dataset.parts[row.id] == part and _is_for(task, row)]
    step = max(1.0, len(rows) / count)
    return [rows[int(index * step)] for index in range(min(len(rows), count))]


def _is_for(task: str, row: Row) -> bool:
    """Whether a row has what a task is fed with: a caption or a question, where it makes a difference."""
    if task in USES:
        return is_read(task, row)
    return task in OWN_SETS or "text" in row.fields


def _named(name: str, row: Row, settings: Mapping[str, Any]) -> Row:
    """A row whose id says of which built-in set it is; without its language where the model does not know that.

    A speech encoder has the same ranges whatever the prompt of its decoder is.
    """
    known = settings.get("generation", {}).get("languages") or {}
    unknown = bool(known) and row.fields.get("language") not in known
    fields = {column: text for column, text in row.fields.items() if not (unknown and column == "language")}
    return replace(row, id=f"{name}/{row.id}", fields=fields)


class _Contents:
    """Contents of rows: decoded pixels or samples, or the text where there are neither; other columns do not count.

    Only rows of equal length or size are decoded, each of them once.
    """

    def __init__(self, rows: Iterable[Row]) -> None:
        self._rows: dict[Hashable, list[Row]] = {}
        self._keys: dict[Hashable, set[str]] = {}
        for row in map(_bare, rows):
            self._rows.setdefault(outline(row), []).append(row)

    def __contains__(self, row: Row) -> bool:
        bare = _bare(row)
        alike = outline(bare)
        if alike not in self._rows:
            return False
        if alike not in self._keys:
            self._keys[alike] = {content_key(other) for other in self._rows[alike]}
        return content_key(bare) in self._keys[alike]


def _bare(row: Row) -> Row:
    """A row without what is told about its media."""
    fields = {} if row.file is not None else {"text": row.fields.get("text", "")}
    return Row(row.id, fields, row.media, row.file)
