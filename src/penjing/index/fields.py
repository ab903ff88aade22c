"""What a folder's own table says about its pictures and sounds, so that a search can ask for it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from penjing.data.folder import METADATA
from penjing.data.paths import is_inside
from penjing.data.records import read_records
from penjing.errors import DataError

NAMES = ("file_name", "image", "audio")
ABOVE = 3
"""A table names files beside it, and those so many folders below."""


def fields_of(path: Path) -> Mapping[str, str]:
    """Columns about a file in a `metadata.jsonl` or `metadata.csv` beside or above it, which names it from there."""
    for table in _tables(path):
        named = _read(table, table.stat().st_mtime_ns).named
        if (found := named.get(path.relative_to(table.parent).as_posix())) is not None:
            return found
    return {}


def broken_tables(paths: Iterable[Path]) -> dict[str, str]:
    """Tables beside or above files that cannot be read, and why."""
    tables = {table for folder in {path.parent for path in paths} for table in _tables(folder / "any")}
    faults = {str(table): _read(table, table.stat().st_mtime_ns).fault for table in sorted(tables)}
    return {table: fault for table, fault in faults.items() if fault is not None}


def _tables(path: Path) -> Iterator[Path]:
    """Tables that may name a file, the nearest first."""
    for folder in path.parents[: ABOVE + 1]:
        yield from (
            folder / name for name in METADATA if (folder / name).is_file() and is_inside(folder / name, folder)
        )


class Read(NamedTuple):
    """Columns by file name; or why there are none."""

    named: Mapping[str, Mapping[str, str]] = {}
    fault: str | None = None


@lru_cache(64)
def _read(table: Path, modified_ns: int) -> Read:
    """A table as it was at a time."""
    try:
        rows = [record.values for record in read_records(table)]
    except DataError as error:
        return Read(fault=str(error))
    named = ((row, next((name for name in NAMES if row.get(name)), None)) for row in rows)
    return Read({
        Path(str(row[name])).as_posix(): {
            key: str(value) for key, value in row.items() if key != name and value is not None
        }
        for row, name in named
        if name is not None
    })  # fmt: skip
