"""Tables as they stand in a file: JSON lines, CSV or Parquet become records that know the line they came from."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penjing.bounded_json import UnreadableJson, parse_json
from penjing.data.text_files import read_text
from penjing.errors import DataError
from penjing.extras import need


@dataclass(frozen=True, slots=True)
class Record:
    """One row of a table: where it stands (`metadata.jsonl, line 3`) and its values by column."""

    place: str
    values: Mapping[str, Any]


def read_records(path: Path) -> list[Record]:
    """Read a `.jsonl`, `.csv` or `.parquet` file; what cannot be read is named with its line."""
    if path.suffix.lower() == ".parquet":
        return _read_parquet(path)
    text = read_text(path, path.name)
    return _read_csv(path.name, text) if path.suffix.lower() == ".csv" else _read_jsonl(path.name, text)


def _read_jsonl(name: str, content: str) -> list[Record]:
    records = []
    for number, line in enumerate(content.split("\n"), 1):
        place = f"{name}, line {number}"
        text = line.strip()
        if not text:
            continue
        try:
            values = parse_json(text)
        except UnreadableJson as error:
            raise DataError(f"{place} {error}", hint='every line is an object: {"file_name": …, "text": …}') from error
        if not isinstance(values, dict):
            raise DataError(
                f"{place} is not a JSON object", hint='every line is an object: {"file_name": …, "text": …}'
            )
        records.append(Record(place, values))
    return records


def _read_csv(name: str, content: str) -> list[Record]:
    reader = csv.reader(io.StringIO(content, newline=""), strict=True)
    header: list[str] = []
    records = []
    first = 1
    try:
        for cells in reader:
            place, first = f"{name}, line {first}", reader.line_num + 1
            if not header:
                header = [cell.strip() for cell in cells]
            elif cells:
                if len(cells) != len(header):
                    raise DataError(
                        f"{place} has {len(cells)} cells, the first line {len(header)}",
                        hint='put text that holds commas into "double quotes"',
                    )
                records.append(Record(place, dict(zip(header, cells, strict=True))))
    except csv.Error as error:
        raise DataError(f"{name}, line {reader.line_num} is not CSV: {error}", hint="check the quotes") from error
    return records


def _read_parquet(path: Path) -> list[Record]:
    """Read through pyarrow; integer labels become names where the file says so (the `huggingface` metadata)."""
    parquet = need("pyarrow.parquet", "compress")
    try:
        table = parquet.read_table(path)
    except (OSError, ValueError, NotImplementedError) as error:
        raise DataError(f"{path.name} is not a Parquet file that can be read", hint="write it again") from error
    names = label_names((table.schema.metadata or {}).get(b"huggingface", b"{}"))
    return [
        Record(f"{path.name}, row {number}", named(values, names)) for number, values in enumerate(table.to_pylist(), 1)
    ]


def label_names(metadata: bytes) -> dict[str, list[str]]:
    """Names of the classes of every ClassLabel column, from the metadata that `datasets` writes into Parquet."""
    try:
        features = parse_json(metadata)["info"]["features"]
        return {column: kind["names"] for column, kind in features.items() if kind.get("_type") == "ClassLabel"}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


def named(values: Mapping[str, Any], names: Mapping[str, list[str]]) -> dict[str, Any]:
    """Replace class numbers by class names; -1 stands for an unknown class in `datasets` and is left out."""
    found = dict(values)
    for column, classes in names.items():
        number = found.get(column)
        if isinstance(number, int):
            found[column] = classes[number] if 0 <= number < len(classes) else None
    return found
