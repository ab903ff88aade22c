"""What of a row a model reads, and which rows share a file."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from penjing.data.row import Row
from penjing.data.shifts.registry import Modality
from penjing.data.split import bunch
from penjing.errors import DataError

MODALITIES: tuple[Modality, ...] = ("audio", "image", "text")
Inputs = Mapping[Modality, tuple[str, ...]]
"""modality -> columns: `file` for an image, `file` or `spoken` for audio, names of fields for text. What only the
metric reads (the reference of a transcript, a label) is none of it.
"""
InputsOf = Callable[[Row], Inputs]
"""The inputs of a row for the task that is judged; given by the caller, who knows the task."""


def checked_inputs(row: Row, inputs_of: InputsOf) -> Inputs:
    """The inputs of a row, in the order of MODALITIES; DataError where there are none, or one is missing."""
    inputs = inputs_of(row)
    checked: dict[Modality, tuple[str, ...]] = {name: inputs[name] for name in MODALITIES if inputs.get(name)}
    if not checked:
        raise DataError(f"row {row.id!r} has nothing that the model reads", hint="leave it out")
    for modality, columns in checked.items():
        for column in columns:
            if not _has(row, modality, column):
                raise DataError(f"row {row.id!r} has no {modality} in {column!r}", hint="fill it in or leave it out")
    return checked


def media_source(row: Row, column: str) -> Path | bytes | None:
    """The picture or sound in the column `file` or `spoken`."""
    return row.spoken if column == "spoken" else row.file


def _has(row: Row, modality: Modality, column: str) -> bool:
    if modality == "text":
        return column in row.fields
    is_right = column == "spoken" or (column == "file" and row.media == modality)
    return is_right and media_source(row, column) is not None


class MediaNames:
    """Stable names for the media of rows: the same file has one name, whichever of the rows it is read from.

    A name comes from ids, never from a path: a set that was moved is distorted as before.
    """

    def __init__(self, rows: Sequence[Row]) -> None:
        self._names: dict[str | Path, str] = {}
        for row in rows:
            for source, name in ((row.file, bunch(row)), (row.spoken, f"{row.id}, spoken")):
                if source is not None:
                    key = _identity(source)
                    self._names[key] = min(self._names.get(key, name), name)

    def of_source(self, source: Path | bytes) -> str:
        """The lowest id among the rows that share this file, without the counter behind it."""
        return self._names[_identity(source)]

    def of_row(self, row: Row) -> str:
        """The name of a row's first file; its id where it has none."""
        source = row.file if row.file is not None else row.spoken
        return row.id if source is None else self.of_source(source)


def _identity(source: Path | bytes) -> str | Path:
    return hashlib.sha256(source).hexdigest() if isinstance(source, bytes) else source
