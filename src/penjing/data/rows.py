"""Records become rows: known columns, files that exist, ids that are unique."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from penjing.data.formats import media_of
from penjing.data.paths import resolve_inside
from penjing.data.records import Record
from penjing.data.row import PROVENANCE, DataSet, Media, Row
from penjing.errors import DataError, did_you_mean

CONTENT_COLUMNS = ("text", "label", "question", "answer", "text2", "score", "language", "scene", "speaker")
TEXT_COLUMNS = (*CONTENT_COLUMNS, PROVENANCE)
FILE_COLUMNS = ("file_name", "image", "audio")
OTHER_COLUMNS = ("id", "part")
SYNONYMS = {
    "text": ("transcription", "transcript", "sentence", "caption", "sentence1"),
    "text2": ("sentence2",),
}
"""Names of columns in well-known sets, taken in this order where there is none of our name."""
PARTS = ("calibrate", "select", "judge")
LONGEST_TEXT = 2_000_000
"""Characters of one field: a long novel. Tokenizers take seconds for it, and no model reads as much at once."""
LONGEST_NAME = 1000


class _File(NamedTuple):
    """The image or sound of a record: what it is, where it is, what it is called inside its set."""

    media: Media | None
    file: Path | bytes | None
    title: str


def names_media(text: str) -> bool:
    """Whether words of a user are the name of a picture or a sound, and not words that end in one."""
    return media_of(text) is not None and (" " not in text or Path(text).exists())


def check_columns(name: str, records: Sequence[Record], must: str = "") -> None:
    """Refuse a table without a known text column, unless it has nothing but files; `must` names a required column."""
    found = sorted({column for record in records for column in record.values if isinstance(column, str)})
    synonyms = [synonym for group in SYNONYMS.values() for synonym in group]
    known = [*TEXT_COLUMNS, *synonyms, *FILE_COLUMNS, *OTHER_COLUMNS]
    unknown = [column for column in found if column not in known]
    if must and must not in found:
        hint = f"it has {', '.join(found)}; {must} is the path of the image or sound, relative to {name}"
        raise DataError(f"{name} has no column {must!r}", hint=hint)
    if any(column in (*CONTENT_COLUMNS, *synonyms) for column in found):
        return
    if unknown or not any(column in FILE_COLUMNS for column in found):
        near = [hint for column in unknown if (hint := did_you_mean(column, [*TEXT_COLUMNS])).startswith("did")]
        hint = near[0] if near else f"it has {', '.join(found)}" if found else "every row is empty"
        raise DataError(f"{name} has none of the columns {', '.join(CONTENT_COLUMNS)}", hint=hint)


def data_set(name: str, records: Sequence[Record], folder: Path | None = None) -> DataSet:
    """Build rows in the order of the records. File names are relative to `folder` and may not leave it.

    A row's id is its `id` column, else its file name, else a hash of its text. A file that stands in several rows (five
    captions of one picture) gets `#2`, `#3` … behind its later ids; two rows that are wholly equal are an error.
    """
    if not records:
        raise DataError(f"{name} has no rows", hint="an empty set can neither calibrate nor judge")
    fixed = any(record.values.get("part") in PARTS for record in records)
    rows, parts, seen = [], {}, _Seen()
    for record in records:
        fields = _fields(record)
        found = _file(record, folder)
        if not fields.keys() - {PROVENANCE} and found.file is None:
            raise DataError(f"{record.place} has neither a file nor a text", hint="fill it in or remove it")
        row = Row(seen.new_id(record, fields, found), fields, found.media, found.file)
        rows.append(row)
        if fixed:
            parts[row.id] = _part(record)
    return DataSet(name, tuple(rows), parts)


class _Seen:
    """Ids and contents met so far."""

    def __init__(self) -> None:
        self._places: dict[Any, str] = {}
        self._times: dict[str, int] = {}

    def new_id(self, record: Record, fields: Mapping[str, str], found: _File) -> str:
        """Name a record, or say which earlier one it repeats."""
        given = record.values.get("id")
        if len(str(given)) > LONGEST_NAME:
            raise DataError(f"{record.place}: an id of {len(str(given))} characters", hint="leave the column out")
        fields_of_content = {name: text for name, text in sorted(fields.items()) if name != PROVENANCE}
        content = json.dumps(fields_of_content, ensure_ascii=False).encode()
        if isinstance(found.file, bytes):
            content += hashlib.sha256(found.file).digest()
        base = str(given) if given not in (None, "") else found.title or hashlib.sha256(content).hexdigest()[:16]
        key = base if given not in (None, "") else (base, content)
        if key in self._places:
            what = f"has the id {base!r} of" if key == base else "repeats"
            raise DataError(f"{record.place} {what} {self._places[key]}", hint="remove one of the two rows")
        self._places[key] = record.place
        self._times[base] = self._times.get(base, 0) + 1
        return base if self._times[base] == 1 else f"{base}#{self._times[base]}"


def _fields(record: Record) -> dict[str, str]:
    """Keep the known text columns that hold something; numbers and truth values become text.

    Many sets on the hub have a `source` of several values, which is no provenance as it is meant here: left out.
    """
    fields = {}
    for column in TEXT_COLUMNS:
        names = (column, *SYNONYMS.get(column, ()))
        value = next((record.values[name] for name in names if record.values.get(name) not in (None, "")), None)
        if value is None:
            continue
        if column == PROVENANCE and not isinstance(value, str | int | float):
            continue
        if not isinstance(value, str | int | float):
            raise DataError(f"{record.place}: {column} is a {type(value).__name__}", hint="give one text per row")
        fields[column] = str(value)
        if len(fields[column]) > LONGEST_TEXT:
            raise DataError(
                f"{record.place}: {column} has {len(fields[column]):,} characters, a row has {LONGEST_TEXT:,} at most",
                hint="put it into a .txt file, which is read in passages",
            )
    return fields


def _part(record: Record) -> str:
    part = str(record.values.get("part"))
    if part not in PARTS:
        raise DataError(f"{record.place}: there is no part {part!r}", hint=did_you_mean(part, [*PARTS]))
    return part


def _file(record: Record, folder: Path | None) -> _File:
    """Find the image or sound of a record: a path, or `{"bytes": …, "path": …}` as `datasets` stores media.

    A value that is a `Path` was checked by the reader of the records; every other one is relative to the folder.
    """
    column = next((name for name in FILE_COLUMNS if record.values.get(name)), None)
    if column is None:
        return _File(None, None, "")
    value = record.values[column]
    kind: Media | None = "image" if column == "image" else "audio" if column == "audio" else None
    if isinstance(value, Path):
        return _File(kind or media_of(value), value, value.name)
    path: object = value
    if isinstance(value, Mapping):
        content, path = value.get("bytes"), value.get("path")
        if content:
            return _embedded(record.place, column, content, path)
    if isinstance(value, Mapping) and not path:
        raise DataError(f"{record.place}: {column} has neither bytes nor a path", hint="fill it in or remove the row")
    if not isinstance(path, str) or folder is None:
        raise DataError(f"{record.place}: {column} is not a file name", hint="give a path relative to the folder")
    return _local(record.place, path, folder, kind)


def _embedded(source: str, column: str, content: object, path: object) -> _File:
    """Check the encoded bytes of a record, and name them by its path."""
    if not isinstance(content, (bytes, bytearray)):
        kind = type(content).__name__
        hint = "JSON holds no bytes: give the file's name, or a Parquet file"
        raise DataError(f"{source}: the bytes of {column} are a {kind}", hint=hint)
    title = PurePosixPath(path).name if isinstance(path, str) else ""
    media: Media | None = "image" if column == "image" else "audio" if column == "audio" else media_of(title)
    if media is None:
        hint = "call the column image or audio"
        raise DataError(f"{source}: {column} does not say whether it is an image or a sound", hint=hint)
    return _File(media, bytes(content), title)


def _local(source: str, name: str, folder: Path, kind: Media | None) -> _File:
    """Resolve a file name inside a folder; `kind` is what its column says it is."""
    if len(name) > LONGEST_NAME:
        raise DataError(f"{source}: a file name of {len(name)} characters", hint="give a path relative to the folder")
    path = resolve_inside(folder, name, source)
    if not path.is_file():
        raise DataError(f"{source}: no such file: {name}", hint=f"it should be in {folder}")
    media = media_of(name) or kind
    if media is None:
        raise DataError(
            f"{source}: {name} is neither an image nor a sound", hint="JPEG, PNG, WAV, FLAC, Ogg and MP3 work"
        )
    return _File(media, path, str(PurePosixPath(name)))
