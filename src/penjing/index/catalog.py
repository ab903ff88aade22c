"""What is in an index and what still waits for it: one SQLite file, so that a kill loses nothing that was done."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penjing.bounded_json import parse_json
from penjing.errors import ArtifactError
from penjing.index.files import Found

NAME = "catalog.sqlite"
TABLES = """
CREATE TABLE IF NOT EXISTS about (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS file (
  path TEXT PRIMARY KEY, kind TEXT NOT NULL, size_bytes INTEGER NOT NULL, modified_ns INTEGER NOT NULL, fault TEXT);
CREATE TABLE IF NOT EXISTS item (
  id INTEGER PRIMARY KEY AUTOINCREMENT, path TEXT NOT NULL REFERENCES file ON DELETE CASCADE,
  title TEXT NOT NULL, text TEXT NOT NULL, fields TEXT NOT NULL, waiting INTEGER);
CREATE INDEX IF NOT EXISTS item_path ON item (path);
CREATE INDEX IF NOT EXISTS item_waiting ON item (waiting) WHERE waiting IS NOT NULL;
"""


@dataclass(frozen=True, slots=True)
class Item:
    """Something that can be found: a picture, a sound, or a passage of a text with its title."""

    path: str
    kind: str
    title: str = ""
    text: str = ""
    fields: Mapping[str, str] | None = None


class Catalog:
    """Files and items of an index. An item waits while its vector is in the file of waiting ones, at that row."""

    def __init__(self, folder: Path) -> None:
        try:
            self._base = sqlite3.connect(folder / NAME, isolation_level=None, check_same_thread=False)
            self._base.execute("PRAGMA foreign_keys = ON")
            self._base.create_function("file_name", 1, os.path.basename, deterministic=True)
            self._base.executescript(TABLES)
        except sqlite3.DatabaseError as error:
            raise ArtifactError(
                f"{folder / NAME} is damaged: {error}", hint="delete its folder and index anew"
            ) from error

    def close(self) -> None:
        """Let go of the file."""
        self._base.close()

    def __getitem__(self, key: str) -> Any:
        """What is known about the whole index under a key; None where nothing is."""
        row = self._base.execute("SELECT value FROM about WHERE key = ?", (key,)).fetchone()
        return None if row is None else parse_json(row[0])

    def __setitem__(self, key: str, value: Any) -> None:
        self._base.execute("INSERT OR REPLACE INTO about VALUES (?, ?)", (key, json.dumps(value)))

    def __enter__(self) -> Catalog:
        """Begin something that is done wholly or not at all."""
        self._base.execute("BEGIN IMMEDIATE")
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._base.execute("COMMIT" if error is None else "ROLLBACK")

    def changed(self, found: Mapping[str, Found]) -> list[Found]:
        """Files that are new here, or not as they were."""
        known = {
            path: tuple(rest) for path, *rest in self._base.execute("SELECT path, size_bytes, modified_ns FROM file")
        }
        return [one for path, one in found.items() if known.get(path) != (one.size_bytes, one.modified_ns)]

    def drop_missing(self, found: Mapping[str, Found]) -> int:
        """Forget files that are no longer there, with their items; returns how many."""
        gone = [(path,) for (path,) in self._base.execute("SELECT path FROM file") if path not in found]
        self._base.executemany("DELETE FROM file WHERE path = ?", gone)
        return len(gone)

    def add(self, file: Found, items: Sequence[Item], first_row: int, fault: str | None = None) -> None:
        """Put a file in the place of what was known of it; its items' vectors wait from a row on."""
        self._base.execute("DELETE FROM file WHERE path = ?", (file.path,))
        values = (file.path, file.kind, file.size_bytes, file.modified_ns, fault)
        self._base.execute("INSERT INTO file VALUES (?, ?, ?, ?, ?)", values)
        rows = [(one.path, one.title, one.text, json.dumps(dict(one.fields or {})), first_row + place)
                for place, one in enumerate(items)]  # fmt: skip
        self._base.executemany("INSERT INTO item (path, title, text, fields, waiting) VALUES (?, ?, ?, ?, ?)", rows)

    def renew_fields(self, fields_of: Callable[[Path], Mapping[str, str]]) -> None:
        """Take over what the tables beside files say of them by now."""
        rows = self._base.execute("SELECT path, fields FROM item").fetchall()
        now = ((json.dumps(dict(fields_of(Path(path)))), path, fields) for path, fields in rows)
        changed = [(new, path) for new, path, fields in now if new != fields]
        self._base.executemany("UPDATE item SET fields = ? WHERE path = ?", changed)

    def waiting(self) -> list[tuple[int, int]]:
        """Id and row of all items that wait, by id."""
        return self._base.execute("SELECT id, waiting FROM item WHERE waiting IS NOT NULL ORDER BY id").fetchall()

    def settled(self) -> list[int]:
        """Ids of all items whose vectors are stored, in order."""
        return [number for (number,) in self._base.execute("SELECT id FROM item WHERE waiting IS NULL ORDER BY id")]

    def settle(self) -> None:
        """Nothing waits any longer."""
        self._base.execute("UPDATE item SET waiting = NULL WHERE waiting IS NOT NULL")

    def faults(self) -> dict[str, str]:
        """Why files could not be read, by path."""
        return dict(self._base.execute("SELECT path, fault FROM file WHERE fault IS NOT NULL ORDER BY path"))

    def counts(self) -> dict[str, int]:
        """How many items there are of each kind."""
        rows = self._base.execute("SELECT kind, count(*) FROM item JOIN file USING (path) GROUP BY kind ORDER BY kind")
        return dict(rows.fetchall())

    def some_media(self, most: int) -> Iterator[str]:
        """Paths of so many pictures and sounds, evenly spaced."""
        paths = [
            path
            for (path,) in self._base.execute(
                "SELECT path FROM file WHERE kind != 'text' AND fault IS NULL ORDER BY path"
            )
        ]
        yield from paths[:: -(-len(paths) // most)] if paths else ()

    def items(self, numbers: Iterable[int]) -> dict[int, Item]:
        """Items by id."""
        wanted = [int(number) for number in numbers]
        marks = ", ".join("?" * len(wanted))
        rows = self._base.execute(
            f"SELECT id, path, kind, title, text, fields FROM item JOIN file USING (path) WHERE id IN ({marks})", wanted
        )
        return {
            number: Item(path, kind, title, text, parse_json(fields))
            for number, path, kind, title, text, fields in rows
        }

    def matching(
        self, path: str | None, kind: str | None, fields: Mapping[str, str], name: str | None = None
    ) -> list[int] | None:
        """Ids of items whose path matches a pattern, whose file's name does, of a kind, with these fields; None where
        nothing is asked.
        """
        given = (("path GLOB ?", path), ("file_name(path) GLOB ?", name), ("kind = ?", kind))
        asked = [(test, [value]) for test, value in given if value is not None]
        told = "EXISTS (SELECT 1 FROM json_each(fields) AS told WHERE told.key = ? AND told.value = ?)"
        asked += [(told, [key, value]) for key, value in fields.items()]
        if not asked:
            return None
        values = [one for _, some in asked for one in some]
        where = " AND ".join(test for test, _ in asked)
        rows = self._base.execute(f"SELECT id FROM item JOIN file USING (path) WHERE {where} ORDER BY id", values)
        return [number for (number,) in rows]
