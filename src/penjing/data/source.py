"""From what the user typed after --data to rows: a built-in name, a folder, a table or a hub id."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from penjing.data.folder import load_folder
from penjing.data.hub import HUB_ID, load_from_hub, rows_of_dataset
from penjing.data.prose import TEXTS, load_texts
from penjing.data.records import read_records
from penjing.data.row import DataSet
from penjing.data.rows import check_columns, data_set
from penjing.data.text_files import encoding_note
from penjing.errors import DataError, did_you_mean

TABLES = (".jsonl", ".csv", ".parquet")
CALIBRATION = Path(__file__).parent / "builtin" / "calibration"
"""Three sets that calibrate and select, and never judge."""


def load_dataset(spec: Any, *, limit: int | None = None) -> DataSet:
    """Open a data set, with at most `limit` rows: a fixed choice spread over the set and over its own parts.

    A built-in name goes before a folder of the same name: write `./speech` for the folder. A program may give a
    `datasets.Dataset`.
    """
    if limit is not None and limit < 1:
        raise DataError(f"a limit of {limit} rows leaves nothing", hint="give a limit of at least 1")
    if not isinstance(spec, (str, Path)):
        return limited(rows_of_dataset(spec), limit)
    spec = str(spec)
    if spec in BUILTIN:
        return limited(BUILTIN[spec](), limit)
    path = Path(spec).expanduser()
    if path.is_dir():
        return limited(load_folder(path), limit)
    if path.is_file():
        return limited(_load_table(path), limit)
    if HUB_ID.fullmatch(spec) and not path.parent.exists():
        return load_from_hub(spec, limit)
    if path.suffix or "/" in spec or "\\" in spec:
        raise DataError(
            f"no such data: {spec}", hint="give a folder, a .jsonl, .parquet or .txt file, or owner/name on the hub"
        )
    hint = f"{did_you_mean(spec, [*BUILTIN])}; a set of the hub is owner/name"
    raise DataError(f"no folder, file or built-in set is called {spec!r}", hint=hint)


def limited(data: DataSet, limit: int | None) -> DataSet:
    """Keep `limit` rows in their order, drawn by a hash of their ids and from each of the set's own parts alike."""
    if limit is None or limit >= len(data.rows):
        return data
    members: dict[str, list[str]] = {}
    for row in data.rows:
        members.setdefault(data.parts.get(row.id, ""), []).append(row.id)
    places = {}
    for ids in members.values():
        for rank, row_id in enumerate(sorted(ids, key=_draw)):
            places[row_id] = ((rank + 0.5) / len(ids), _draw(row_id))
    kept = set(sorted(places, key=places.__getitem__)[:limit])
    parts = {row_id: part for row_id, part in data.parts.items() if row_id in kept}
    return replace(data, rows=tuple(row for row in data.rows if row.id in kept), parts=parts)


def _draw(row_id: str) -> str:
    """A row's lot; salted, so that it says nothing about the part that `split` gives the row."""
    return hashlib.sha256(f"limit:{row_id}".encode()).hexdigest()


def _load_table(path: Path) -> DataSet:
    if path.suffix.lower() in TEXTS:
        return _noted(load_texts(path.name, [path], path.parent), path)
    if path.suffix.lower() not in TABLES:
        hint = f"files end in {', '.join(TABLES + TEXTS)}; images and sounds go into a folder"
        raise DataError(f"{path} is no data set", hint=hint)
    records = read_records(path)
    if records:
        check_columns(path.name, records)
    return _noted(data_set(path.name, records, path.parent), path)


def _noted(data: DataSet, path: Path) -> DataSet:
    """The set of one file, with a note where its encoding was judged."""
    note = None if path.suffix.lower() == ".parquet" else encoding_note([path])
    return data if note is None else replace(data, notes=(note,))


def _speech() -> DataSet:
    """100 English sentences, spoken; 60 judge, 20 select, 20 calibrate."""
    data = load_folder(Path(__file__).parent / "builtin" / "speech")
    return _with_columns(data, source="synthetic voice", speaker="Piper joe")


def _pictures() -> DataSet:
    """Drawn shapes with captions."""
    from penjing.data.pictures import load_pictures

    return _with_columns(load_pictures(), source="generated drawing")


def _scenes() -> DataSet:
    """Drawn scenes with captions and questions, typed and spoken."""
    from penjing.data.scenes import load_scenes

    return _with_columns(load_scenes(), source="generated drawing")


def _text() -> DataSet:
    """160 passages of English novels; 60 judge, 20 select, 80 calibrate."""
    data = replace(_load_table(Path(__file__).parent / "builtin" / "text" / "passages.jsonl"), name="text")
    return _with_columns(data, source="novel")


def _with_columns(data: DataSet, **columns: str) -> DataSet:
    """The set with columns that have one value in all of its rows."""
    return replace(data, rows=tuple(replace(row, fields={**columns, **row.fields}) for row in data.rows))


def _calibration_audio() -> DataSet:
    """Sentences that people read in five languages; none judges."""
    return replace(load_folder(CALIBRATION / "audio"), name="calibration-audio")


def _calibration_images() -> DataSet:
    """Photographs and drawings with captions and questions; none judges."""
    return replace(load_folder(CALIBRATION / "images"), name="calibration-images")


def _calibration_text() -> DataSet:
    """Passages of many registers and languages; none judges."""
    return replace(_load_table(CALIBRATION / "text" / "passages.jsonl"), name="calibration-text")


BUILTIN: dict[str, Callable[[], DataSet]] = {
    "calibration-audio": _calibration_audio,
    "calibration-images": _calibration_images,
    "calibration-text": _calibration_text,
    "pictures": _pictures,
    "scenes": _scenes,
    "speech": _speech,
    "text": _text,
}
