"""Folders as data sets: a metadata table, transcripts beside the files, classes as subfolders, or nothing but texts."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import replace
from pathlib import Path
from typing import Any

from penjing.data.formats import ignored_note, is_readable, media_of
from penjing.data.paths import list_files, resolve_inside
from penjing.data.prose import load_texts, text_files
from penjing.data.records import Record, read_records
from penjing.data.row import DataSet
from penjing.data.rows import check_columns, data_set
from penjing.data.text_files import encoding_note, read_text
from penjing.errors import DataError

METADATA = ("metadata.jsonl", "metadata.csv")


def load_folder(folder: Path) -> DataSet:
    """Read a folder of images or sounds, as imagefolder and audiofolder of `datasets` do, or of nothing but texts.

    In this order: `metadata.jsonl` or `metadata.csv`; files with a transcript of the same stem beside them
    (`a.ogg`, `a.txt`); one subfolder per class (`cat/1.png` has the label `cat`); files without any text; else passages
    of texts.
    """
    tables = [_checked(folder / name, folder) for name in METADATA if (folder / name).is_file()]
    if len(tables) > 1:
        raise DataError(f"{folder} has both {' and '.join(METADATA)}", hint="keep one of them")
    name = folder.resolve().name
    if tables:
        return replace(data_set(name, _in_table(tables[0]), folder), notes=_notes(encoding_note(tables)))
    beside, inside = _with_transcripts(folder), _in_classes(folder)
    if beside and inside:
        raise DataError(f"{folder} has files both beside and inside of its subfolders", hint="move one kind away")
    if not beside and not inside:
        if files := text_files(folder):
            others = _others(folder, files)
            return replace(load_texts(name, files, folder), notes=_notes(encoding_note(files), others))
        raise _nothing(folder)
    used = {folder / str(record.values["file_name"]) for record in beside or inside}
    transcripts = {path.with_suffix(".txt") for path in used}
    others = _others(folder, used | transcripts)
    encodings = encoding_note(path for path in sorted(transcripts) if path.is_file())
    return replace(data_set(name, beside or inside, folder), notes=_notes(encodings, others))


def _others(folder: Path, read: Container[Path]) -> str | None:
    """What of a folder is not read, in one line."""
    listing = list_files(folder)
    return ignored_note((path for path in listing.files if path not in read), closed=listing.closed)


def _notes(*notes: str | None) -> tuple[str, ...]:
    return tuple(note for note in notes if note is not None)


def _entries(folder: Path) -> list[Path]:
    """List what is right inside a folder, by name; hidden files do not count."""
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise DataError(f"{folder} cannot be read: {error.strerror}", hint="check the permissions") from error


def _in_table(table: Path) -> list[Record]:
    """Records of a metadata table, each with a file name."""
    records = read_records(table)
    if not records:
        raise DataError(f"{table} has no rows", hint="an empty set can neither calibrate nor judge")
    check_columns(table.name, records, must="file_name")
    for record in records:
        if not record.values.get("file_name"):
            raise DataError(f"{record.place} has no file_name", hint="fill it in or remove the row")
    return records


def _media(folder: Path) -> list[Path]:
    """List the images and sounds right inside a folder, by name. A link that leads out of it is refused."""
    return [
        _checked(path, folder) for path in _entries(folder) if media_of(path) and is_readable(path) and path.is_file()
    ]


def _checked(path: Path, folder: Path) -> Path:
    return resolve_inside(folder, path.name, str(folder))


def _with_transcripts(folder: Path) -> list[Record]:
    """Records of a flat folder; where one file has a transcript, all of them need one."""
    files = _media(folder)
    spoken = any(path.with_suffix(".txt").is_file() for path in files)
    records = []
    for path in files:
        values: dict[str, Any] = {"file_name": path.name}
        if spoken:
            values["text"] = _transcript(path.with_suffix(".txt"), path)
        records.append(Record(path.name, values))
    return records


def _transcript(path: Path, media: Path) -> str:
    if not path.is_file():
        raise DataError(f"{media.name} has no transcript {path.name}", hint="other files of the folder have one")
    text = read_text(_checked(path, path.parent), path.name).strip()
    if not text:
        raise DataError(f"{path.name} is empty", hint=f"write down what is said in {media.name}, or remove both")
    return text


def _in_classes(folder: Path) -> list[Record]:
    """Records of a folder with one subfolder per class."""
    classes = [_checked(path, folder) for path in _entries(folder) if path.is_dir() and _media(path)]
    return [
        Record(f"{label.name}/{path.name}", {"file_name": f"{label.name}/{path.name}", "label": label.name})
        for label in classes
        for path in _media(label)
    ]


def _nothing(folder: Path) -> DataError:
    """Say what is there instead of images and sounds."""
    inside = [path.name for path in _entries(folder)]
    if not inside:
        return DataError(f"{folder} is empty", hint="put images or sounds and a metadata.jsonl into it, or texts")
    deeper = next((path for path in sorted(folder.glob("*/*")) if path.is_dir() and _media(path)), None)
    table = next((path.parent for name in METADATA for path in sorted(folder.glob(f"*/{name}"))), None)
    place = table or (deeper.parent if deeper else None)
    hint = f"did you mean {place}?" if place else f"it has {', '.join(inside[:3])}" + (" …" if len(inside) > 3 else "")
    return DataError(f"{folder} has no images, sounds or texts that can be read", hint=hint)
