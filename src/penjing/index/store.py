"""An index on disk: its catalogue, vectors that wait for a form, and those that have one.

A folder of `catalog.sqlite`, `waiting.f16` and `vectors-N/`. What the catalogue says holds: rows of the waiting file
that it does not count are cut away, and so are vectors of another N.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from penjing.errors import ArtifactError
from penjing.index.catalog import FORMAT, NAME, Catalog, Item
from penjing.index.choice import Measured, Queries, Wanted, chosen
from penjing.index.files import Found
from penjing.index.specs import FLOAT16, Spec
from penjing.index.vectors import Vectors
from penjing.values import Array, FloatArray, Tell

if sys.platform != "win32":
    import fcntl

WAITING = "waiting.f16"
MOST_QUERIES = 200
"""Items of the index that are looked for to measure a form."""


def is_index(folder: Path) -> bool:
    """Return whether this folder is an index."""
    return (folder / NAME).is_file()


def known_places(folder: Path) -> list[str]:
    """Folders and files that the index in a folder is of; none where there is no index."""
    if not is_index(folder):
        return []
    catalog = Catalog(folder)
    try:
        return [*(catalog["places"] or [])]
    finally:
        catalog.close()


class Store:
    """The index in a folder. Open it by `opened` to search, by `written` to change it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.catalog = folder, Catalog(folder)
        found = self.catalog["format"]
        if found not in (None, 2, FORMAT):
            hint = "make the index anew" if found < FORMAT else "pip install --upgrade penjing"
            raise ArtifactError(f"{folder} has format {found}, this penjing reads {FORMAT}", hint=hint)

    @classmethod
    def opened(cls, folder: Path) -> Store:
        """An index that is there and has been finished once."""
        if not is_index(folder):
            raise ArtifactError(
                f"{folder} is no index", hint="make one: penjing search index ARTIFACT FOLDER --index …"
            )
        store = cls(folder)
        if store.catalog["generation"] is None:
            raise ArtifactError(f"{folder} is not finished", hint="run the same `penjing search index` once more")
        return store

    @classmethod
    @contextlib.contextmanager
    def written(cls, folder: Path) -> Iterator[Store]:
        """An index to change, made where there is none; one process at a time."""
        if folder.exists() and not is_index(folder) and (not folder.is_dir() or any(folder.iterdir())):
            raise ArtifactError(f"{folder} is something else, so it is not overwritten", hint="give another --index")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise ArtifactError(f"cannot write {folder}: {error.strerror}", hint="give another --index") from error
        try:
            _claim(lock, folder)
            store = cls(folder)
            store._clean()
            yield store
            store.catalog.close()
        finally:
            os.close(lock)

    def begin(self, model: str, artifact: str, *, anew: bool) -> None:
        """Note whose vectors these are; with `anew`, whatever was in it leaves."""
        if self.catalog["model"] is not None and not anew:
            self.check_model(model)
        with self.catalog as about:
            if anew:
                about.clear()
                about["generation"] = about["form"] = about["width"] = None
                about["places"], about["waiting"] = [], 0
                about["thresholds"], about["calibrated"] = {}, []
            about["format"], about["model"], about["artifact"] = FORMAT, model, artifact
        self._clean()

    def check_model(self, model: str) -> None:
        """Refuse a model whose vectors mean something else."""
        if self.catalog["model"] != model:
            raise ArtifactError(f"{self.folder} was made with another model",
                                hint="give the artifact it was made with, or index again with --rebuild")  # fmt: skip

    def check_wanted(self, wanted: Wanted) -> None:
        """Refuse a form that vectors which were rounded once cannot be given any more."""
        form, measured = self.catalog["form"], self.measured
        if form is None or form["name"] == FLOAT16 or measured is None or not wanted.names_a_form:
            return
        finds_less = wanted.recall is not None and (measured.at != wanted.at or measured.recall < wanted.recall)
        if finds_less or wanted.form not in (None, form["name"]):
            raise ArtifactError(
                f"{self.folder} keeps {form['name']}, found {measured.recall:.1%} of the nearest {measured.at}, "
                "and cannot be compressed anew",
                hint="index again with --rebuild",
            )

    def places(self, more: Sequence[str]) -> list[str]:
        """Folders and files that the index is of: those that it was made of before, and more."""
        every = [*dict.fromkeys([*(self.catalog["places"] or []), *map(os.path.abspath, more)])]
        self.catalog["places"] = every
        return every

    def drop_places(self, paths: Sequence[str]) -> None:
        """Look into these folders and files no more."""
        self.catalog["places"] = [path for path in self.catalog["places"] or [] if path not in paths]

    def put(self, files: Sequence[tuple[Found, Sequence[Item], str | None]], vectors: FloatArray) -> None:
        """Put in files with their items, or with the reason why they have none; all of it or nothing.

        `vectors` (items of all files, width) are in their order.
        """
        row = self.catalog["waiting"] or 0
        with (self.folder / WAITING).open("ab") as waiting:
            waiting.write(vectors.astype(np.float16).tobytes())
        with self.catalog as catalog:
            if len(vectors):
                catalog["width"] = vectors.shape[1]
            for file, items, fault in files:
                catalog.add(file, items, row, fault)
                row += len(items)
            catalog["waiting"] = row

    def settle(self, texts: FloatArray, wanted: Wanted, tell: Tell) -> Measured | None:
        """Give what waits the form of the rest, or all of it the form that is wanted; returns what was measured.

        `texts` (n, width) are vectors of texts as people may search by. None where the index is empty.
        """
        waiting, settled = self.catalog.waiting(), self.catalog.settled()
        old = self.vectors() if self.catalog["form"] else None
        if not waiting and not settled:
            self._turn(None, None)
            return None
        if old is not None and not waiting and old.numbers() == settled and not wanted.names_a_form:
            return self.measured
        if old is not None and old.spec.name != FLOAT16:
            return self._extended(old, waiting, settled)
        known = np.zeros((0, self.catalog["width"]), np.float16) if old is None else old.decoded(settled)
        vectors = np.concatenate([known.astype(np.float16), self._rows(waiting)]) if len(known) else self._rows(waiting)
        numbers = [*settled, *(number for number, _ in waiting)]
        made, measured = chosen(vectors, numbers, _queries(vectors, texts), wanted, tell)
        self._turn(made, measured)
        return measured

    def vectors(self) -> Vectors:
        """The vectors that have a form."""
        spec = Spec(**self.catalog["form"])
        return Vectors.read(spec, self._generation(self.catalog["generation"]))

    @property
    def measured(self) -> Measured | None:
        """What was measured when the form was chosen."""
        found: Mapping[str, Any] | None = self.catalog["measured"]
        return None if found is None else Measured(**found)

    @property
    def size_bytes(self) -> int:
        """Of all its files."""
        return sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())

    def _extended(self, old: Vectors, waiting: Sequence[tuple[int, int]], settled: Sequence[int]) -> Measured | None:
        """Add to vectors in a form that cannot be undone, and take from them."""
        gone = [*{*old.numbers()} - {*settled}]
        old.remove(gone)
        old.add(self._rows(waiting), [number for number, _ in waiting])
        if (gone or waiting) and (measured := self.measured):
            self._turn(old, replace(measured, bytes_per_item=old.size_bytes / max(1, len(old))))
        return self.measured

    def _turn(self, vectors: Vectors | None, measured: Measured | None) -> None:
        """Write vectors beside the old ones, then let the catalogue speak of them."""
        number = (self.catalog["generation"] or 0) + 1
        shutil.rmtree(self._generation(number), ignore_errors=True)
        if vectors is not None:
            vectors.write(self._generation(number))
        with self.catalog as catalog:
            catalog["generation"], catalog["waiting"] = number, 0
            catalog["form"] = None if vectors is None else vectors.spec.as_json()
            catalog["measured"] = None if measured is None else measured.as_json()
            catalog.settle()
        self._clean()

    def _rows(self, waiting: Sequence[tuple[int, int]]) -> Array:
        """Vectors that wait, (n, width) float16; not copied where they are all there are."""
        if not waiting:
            return np.zeros((0, self.catalog["width"]), np.float16)
        stored = np.memmap(self.folder / WAITING, np.float16, "r").reshape(-1, self.catalog["width"])
        rows = np.array([row for _, row in waiting])
        is_whole = len(rows) == len(stored) and bool((rows == np.arange(len(rows))).all())
        return stored if is_whole else stored[rows]

    def _generation(self, number: int) -> Path:
        return self.folder / f"vectors-{number}"

    def _clean(self) -> None:
        """Take away what the catalogue does not speak of: a killed run left it."""
        counted = (self.catalog["waiting"] or 0) * (self.catalog["width"] or 0) * np.dtype(np.float16).itemsize
        with (self.folder / WAITING).open("ab") as waiting:
            waiting.truncate(counted)
        current = self._generation(self.catalog["generation"] or 0)
        for path in self.folder.glob("vectors-*"):
            if path != current:
                shutil.rmtree(path)


def _claim(lock: int, folder: Path) -> None:
    """Let no second process write."""
    if sys.platform == "win32":
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise ArtifactError(f"{folder} is being written by another process", hint="wait until it is done") from error


def _queries(vectors: Array, texts: FloatArray) -> Queries:
    """Items themselves, evenly spaced, each to find the others; and texts."""
    rows = np.arange(0, len(vectors), max(1, -(-len(vectors) // MOST_QUERIES)))
    found = np.asarray(vectors[rows], np.float32)
    if not len(texts):
        return Queries(found, rows)
    return Queries(np.concatenate([found, texts]), np.concatenate([rows, np.full(len(texts), -1)]))
