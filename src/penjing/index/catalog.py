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
from penjing.errors import ArtifactError, DataError
from penjing.index.files import Found

NAME = "catalog.sqlite"
LONGEST_PATTERN = 4096
"""Bytes of a pattern, as of the longest path of Linux; SQLite raises beyond 50,000."""
TABLES = """
CREATE TABLE IF NOT EXISTS about (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS file (
  path TEXT PRIMARY KEY, kind TEXT NOT NULL, size_bytes INTEGER NOT NULL, modified_ns INTEGER NOT NULL, fault TEXT,
  content TEXT, missing INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS item (
  id INTEGER PRIMARY KEY AUTOINCREMENT, path TEXT NOT NULL REFERENCES file ON DELETE CASCADE,
  title TEXT NOT NULL, text TEXT NOT NULL, fields TEXT NOT NULL, waiting INTEGER);
CREATE INDEX IF NOT EXISTS item_path ON item (path);
CREATE INDEX IF NOT EXISTS item_waiting ON item (waiting) WHERE waiting IS NOT NULL;
"""
ADDED = {"content": "TEXT", "missing": "INTEGER NOT NULL DEFAULT 0"}
"""Columns of files that an index of format 2 has not."""
FORMAT = 3
MOVING = "\0moving"
"""Paths that files have while they change theirs with each other."""


@dataclass(frozen=True, slots=True)
class Item:
    """Something that can be found: a picture, a sound, or a passage of a text with its title.

    It is `missing` where its file was not there when the index was last brought up to date.
    """

    path: str
    kind: str
    title: str = ""
    text: str = ""
    fields: Mapping[str, str] | None = None
    missing: bool = False


class Catalog:
    """Files and items of an index. An item waits while its vector is in the file of waiting ones, at that row."""

    def __init__(self, folder: Path) -> None:
        try:
            self._base = sqlite3.connect(folder / NAME, isolation_level=None, check_same_thread=False)
            self._base.execute("PRAGMA foreign_keys = ON")
            self._base.create_function("file_name", 1, os.path.basename, deterministic=True)
            self._base.executescript(TABLES)
            self._upgrade()
        except sqlite3.DatabaseError as error:
            raise ArtifactError(
                f"{folder / NAME} is damaged: {error}", hint="delete its folder and index anew"
            ) from error

    def _upgrade(self) -> None:
        """Add the columns that an older format has not, all or none."""
        known = {name for _, name, *_ in self._base.execute("PRAGMA table_info(file)")}
        if known >= {*ADDED}:
            return
        with self:
            for name, kind in ADDED.items():
                self._base.execute(f"ALTER TABLE file ADD COLUMN {name} {kind}")
            self["format"] = FORMAT

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

    def mark_missing(self, found: Mapping[str, Found]) -> None:
        """Note which files are there and which are not; those that are not stay, with their items."""
        paths = [path for (path,) in self._base.execute("SELECT path FROM file")]
        self._base.executemany(
            "UPDATE file SET missing = ? WHERE path = ?", [(path not in found, path) for path in paths]
        )

    def missing(self) -> list[str]:
        """Paths of files that were not there when last looked for."""
        return [path for (path,) in self._base.execute("SELECT path FROM file WHERE missing ORDER BY path")]

    def forget_missing(self) -> int:
        """Drop files that are missing, with their items; returns how many."""
        return self._base.execute("DELETE FROM file WHERE missing").rowcount

    def clear(self) -> None:
        """Drop all files and items."""
        self._base.execute("DELETE FROM file")

    def without_content(self) -> list[str]:
        """Paths of files that are there and whose content has no hash yet: an older format kept none."""
        rows = self._base.execute("SELECT path FROM file WHERE content IS NULL AND NOT missing AND fault IS NULL")
        return [path for (path,) in rows]

    def set_content(self, contents: Mapping[str, str | None]) -> None:
        """Note the hashes of files by their paths."""
        rows = [(content, path) for path, content in contents.items()]
        self._base.executemany("UPDATE file SET content = ? WHERE path = ?", rows)

    def movable(self, changed: Sequence[Found]) -> dict[str, Found]:
        """Files as they are known here that are missing, or have another content by now, and whose hash is known."""
        paths = {file.path for file in changed}
        rows = self._base.execute(
            "SELECT path, kind, size_bytes, modified_ns, content, missing FROM file WHERE content IS NOT NULL"
        )
        return {path: Found(path, *rest) for path, *rest, missing in rows if missing or path in paths}

    def move(self, moves: Mapping[str, Found]) -> None:
        """Give files, by the path that they are known by, the path and the time that they have by now.

        Their items, and so their vectors, go with them. A file that was known by a new path and moved nowhere itself
        leaves: its content is gone.
        """
        numbered = [*enumerate(moves.items())]
        for number, (path, _) in numbered:
            self._rename(path, f"{MOVING}{number}")
        for number, (_, file) in numbered:
            self._base.execute("DELETE FROM file WHERE path = ?", (file.path,))
            self._rename(f"{MOVING}{number}", file.path)
            values = (file.kind, file.modified_ns, file.path)
            self._base.execute("UPDATE file SET kind = ?, modified_ns = ?, missing = 0 WHERE path = ?", values)

    def _rename(self, path: str, new_path: str) -> None:
        self._base.execute(
            "INSERT INTO file SELECT ?, kind, size_bytes, modified_ns, fault, content, missing "
            "FROM file WHERE path = ?",
            (new_path, path),
        )
        self._base.execute("UPDATE item SET path = ? WHERE path = ?", (new_path, path))
        self._base.execute("DELETE FROM file WHERE path = ?", (path,))

    def add(self, file: Found, items: Sequence[Item], first_row: int, fault: str | None = None) -> None:
        """Put a file in the place of what was known of it; its items' vectors wait from a row on."""
        self._base.execute("DELETE FROM file WHERE path = ?", (file.path,))
        values = (file.path, file.kind, file.size_bytes, file.modified_ns, fault, file.content)
        self._base.execute("INSERT INTO file VALUES (?, ?, ?, ?, ?, ?, 0)", values)
        rows = [(one.path, one.title, one.text, json.dumps(dict(one.fields or {})), first_row + place)
                for place, one in enumerate(items)]  # fmt: skip
        self._base.executemany("INSERT INTO item (path, title, text, fields, waiting) VALUES (?, ?, ?, ?, ?)", rows)

    def renew_fields(self, fields_of: Callable[[Path], Mapping[str, str]]) -> None:
        """Take over what the tables beside files that are there say of them by now."""
        rows = self._base.execute("SELECT path, fields FROM item JOIN file USING (path) WHERE NOT missing").fetchall()
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
        """Why files that are there could not be read, by path."""
        rows = self._base.execute("SELECT path, fault FROM file WHERE fault IS NOT NULL AND NOT missing ORDER BY path")
        return dict(rows.fetchall())

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
            "SELECT id, path, kind, title, text, fields, missing FROM item JOIN file USING (path) "
            f"WHERE id IN ({marks})",
            wanted,
        )
        return {
            number: Item(path, kind, title, text, parse_json(fields), bool(missing))
            for number, path, kind, title, text, fields, missing in rows
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
        for pattern in (path, name):
            if pattern is not None and len(pattern.encode()) > LONGEST_PATTERN:
                hint = f"give at most {LONGEST_PATTERN:,} bytes"
                raise DataError(f"a pattern of {len(pattern):,} letters is too long", hint=hint)
        rows = self._base.execute(f"SELECT id FROM item JOIN file USING (path) WHERE {where} ORDER BY id", values)
        return [number for (number,) in rows]
