"""What a folder's own table says about its pictures and sounds, so that a search can ask for it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from penjing.data.folder import METADATA
from penjing.data.records import read_records
from penjing.errors import DataError

NAMES = ("file_name", "image", "audio")


def fields_of(path: Path) -> Mapping[str, str]:
    """Columns about a file in the `metadata.jsonl` or `metadata.csv` beside it; a broken table says nothing."""
    table = next((path.with_name(name) for name in METADATA if path.with_name(name).is_file()), None)
    return {} if table is None else _fields(table, table.stat().st_mtime_ns).get(path.name, {})


@lru_cache(64)
def _fields(table: Path, modified_ns: int) -> Mapping[str, Mapping[str, str]]:
    """Fields by file name, of a table as it was at a time."""
    try:
        rows = [record.values for record in read_records(table)]
    except DataError:
        return {}
    named = ((row, next((name for name in NAMES if row.get(name)), None)) for row in rows)
    return {
        str(row[name]): {key: str(value) for key, value in row.items() if key != name and value is not None}
        for row, name in named
        if name is not None
    }
