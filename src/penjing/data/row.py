"""A row of data: fields of text and at most one image or sound, not yet decoded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Media = Literal["image", "audio"]

PROVENANCE = "source"
"""The field that says where a row is from; it is no content: rows that differ in nothing else are the same."""


@dataclass(frozen=True, slots=True)
class Row:
    """One item of a data set.

    `id` is unique and stable within its set. `fields` holds text columns by name (`text`, `text2`, `label`, `score`,
    `question`, `answer`, `language`, `scene`, `speaker`, `source`). `source` is the provenance of a row: `people`,
    `synthetic`, `photograph`, `drawing` or the register of a text. `file` is a path, or the encoded bytes where the set
    carries them itself. `spoken` is the sound beside a picture: its text or its question, read aloud.
    """

    id: str
    fields: Mapping[str, str] = field(default_factory=dict)
    media: Media | None = None
    file: Path | bytes | None = None
    spoken: Path | bytes | None = None

    @property
    def image(self) -> Path | bytes | None:
        """The picture, if there is one."""
        return self.file if self.media == "image" else None

    @property
    def sound(self) -> Path | bytes | None:
        """The sound, alone or beside a picture."""
        return self.file if self.media == "audio" else self.spoken


@dataclass(frozen=True, slots=True)
class DataSet:
    """Rows in a fixed order. `parts` maps a row's id to calibrate, select or judge where the set fixes its own
    split. `notes` say what its user should know: files that were left out, encodings that were judged.
    """

    name: str
    rows: tuple[Row, ...]
    parts: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
