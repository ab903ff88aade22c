"""Image search, and search for sounds and texts: one index of all, asked by words, a picture or a voice."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from penjing.artifact.manifest import read_manifest
from penjing.data.rows import media_of, names_media
from penjing.errors import ArtifactError, DataError
from penjing.index.build import put_all
from penjing.index.catalog import Item
from penjing.index.choice import Measured, Wanted
from penjing.index.fields import broken_tables, fields_of
from penjing.index.files import find_files
from penjing.index.store import Store, known_places
from penjing.index.vectors import Vectors
from penjing.runtimes.integrity import verified_files
from penjing.values import FloatArray, Tell, silent

MOST_TEXTS = 100
"""Names of files that stand for what people type, when a form is measured."""


@dataclass(frozen=True, slots=True)
class Indexed:
    """What an indexing did, and what the index is by now."""

    index: str
    items: Mapping[str, int]
    read: int
    unchanged: int
    removed: int
    faults: Mapping[str, str]
    seconds: float
    size_bytes: int
    form: Measured | None

    def as_json(self) -> dict[str, Any]:
        """Return a plain dict."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Filter:
    """Which items may be found: paths by a pattern (`*/2024/*`), a kind, columns of the metadata beside files; names
    of files by a pattern.
    """

    path: str | None = None
    kind: str | None = None
    fields: Mapping[str, str] = field(default_factory=dict)
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Hit:
    """An item that was found, with the cosine between it and what was looked for."""

    id: int
    path: str
    kind: str
    title: str
    text: str
    fields: Mapping[str, str]
    score: float

    def as_json(self) -> dict[str, Any]:
        """Return a plain dict, with the name of the file beside its path."""
        return {**asdict(self), "name": Path(self.path).name}


class Embedding:
    """An artifact that embeds, open. The same model elsewhere has the same `key`."""

    def __init__(self, runner: Any, artifact: str | Path) -> None:
        if not hasattr(runner, "embed_read"):
            raise ArtifactError(
                f"this artifact does {runner.task}, it has no vectors to search by",
                hint="give a dual encoder (CLIP, SigLIP, CLAP), an encoder of texts, or a seedling",
            )
        self.runner, self.artifact, self.key = runner, str(Path(artifact).resolve()), key_of(artifact)


def key_of(artifact: str | Path) -> str:
    """What an index knows an artifact by: its task and the digests of the files that run, as they were read."""
    folder = Path(artifact)
    manifest = read_manifest(folder)
    told = json.dumps([manifest.get("task"), verified_files(folder, manifest)], sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()


def index(
    model: Embedding, places: Sequence[str], folder: str, wanted: Wanted, *, anew: bool = False, tell: Tell = silent
) -> Indexed:
    """Bring an index up to date with folders and files: what is new or has changed is read, what is gone leaves.

    Files that cannot be read are named in the result. A killed run goes on where it was. A place that is missing or
    has nothing is a mistake, found before anything is made; one that the index is of already may be gone.
    """
    start = time.perf_counter()
    kinds = {*model.runner.modalities}
    known = known_places(Path(folder))
    find_files([place for place in places if os.path.abspath(place) not in known], kinds)
    with Store.written(Path(folder)) as store:
        store.begin(model.key, model.artifact, anew=anew)
        store.check_wanted(wanted)
        found = find_files(store.places(places), kinds, known=True)
        with store.catalog as catalog:
            removed = catalog.drop_missing(found)
            catalog.renew_fields(fields_of)
        changed = store.catalog.changed(found)
        put_all(store, changed, model.runner, wanted.threads, tell)
        form = store.settle(_texts(model.runner, store), wanted, tell)
        seconds = time.perf_counter() - start
        unchanged = len(found) - len(changed)
        faults, counts = {**store.catalog.faults(), **broken_tables(map(Path, found))}, store.catalog.counts()
        return Indexed(folder, counts, len(changed), unchanged, removed, faults, seconds, store.size_bytes, form)


def _texts(runner: Any, store: Store) -> FloatArray:
    """Names of some pictures and sounds as texts, which is near to what people type: (n, width)."""
    names = [
        Path(path).stem.replace("-", " ").replace("_", " ").strip() for path in store.catalog.some_media(MOST_TEXTS)
    ]
    read = []
    for name in filter(None, names if "text" in runner.modalities else ()):
        try:
            read.append(runner.read(name, "text"))
        except DataError:  # a name without a word
            continue
    found: FloatArray = (
        runner.embed_read(read, "text") if read else np.zeros((0, store.catalog["width"] or 0), np.float32)
    )
    return found


class Searcher:
    """An index and the model that it was made with, open."""

    def __init__(self, folder: str | Path, model: Embedding) -> None:
        self._store, self._runner = Store.opened(Path(folder)), model.runner
        self._store.check_model(model.key)
        self._kept: tuple[int, Vectors | None] = (-1, None)
        self._vectors()  # what is damaged is told at once

    def find(
        self, query: str | Path | bytes, count: int = 10, only: Filter | None = None, *, kind: str | None = None
    ) -> list[Hit]:
        """The nearest items, nearest first. A string is a text; a path is a picture or a sound, by its ending.

        Of encoded bytes `kind` says what they are.
        """
        kind = kind or query_kind(query)
        (vector,) = self._runner.embed_read([self._runner.read(query, kind)], kind)
        return self.near(vector, count, only)

    def near(self, vector: FloatArray, count: int = 10, only: Filter | None = None) -> list[Hit]:
        """The items nearest to a unit vector (width,), nearest first."""
        only = only or Filter()
        among = self._store.catalog.matching(only.path, only.kind, only.fields, only.name)
        vectors = self._vectors()
        if vectors is None or among == []:
            return []
        scores, numbers = vectors.search(vector[None], count, among)
        found = self._store.catalog.items(number for number in numbers[0] if number >= 0)
        return [
            Hit(int(number), item.path, item.kind, item.title, item.text, dict(item.fields or {}), float(score))
            for score, number in zip(scores[0], numbers[0], strict=True)
            if (item := found.get(int(number))) is not None
        ]

    def _vectors(self) -> Vectors | None:
        """As the catalogue has them by now: an index may be brought up to date while it is searched."""
        generation = self._store.catalog["generation"]
        if generation != self._kept[0]:
            self._kept = (generation, self._store.vectors() if self._store.catalog["form"] else None)
        return self._kept[1]

    def item(self, number: int) -> Item | None:
        """An item by its number; None where there is none."""
        return self._store.catalog.items([number]).get(number)


class Kept:
    """A runner whose vectors are compared as an index compares them: the two are judged as one."""

    def __init__(self, model: Embedding, folder: str | Path) -> None:
        store = Store.opened(Path(folder))
        store.check_model(model.key)
        if not store.catalog["form"]:
            raise ArtifactError(f"{folder} is empty", hint="index something first")
        self._runner, self._vectors = model.runner, store.vectors()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._runner, name)

    def scores(self, items: FloatArray, others: FloatArray) -> FloatArray:
        """(items, others): what a search for the others would say of items that are kept."""
        return self._vectors.scores(others, items).T


def artifact_of(folder: str | Path, among: Sequence[str | Path] = ()) -> str:
    """The artifact that an index was made with: one of some, wherever they are by now, else where it was then."""
    catalog = Store.opened(Path(folder)).catalog
    found: str = next((str(one) for one in among if key_of(one) == catalog["model"]), catalog["artifact"])
    if not Path(found).is_dir():
        hint = "say where it is now: `--artifact` of `search query`, a further folder of `serve`"
        raise ArtifactError(f"the artifact that {folder} was made with is no longer at {found}", hint=hint)
    return found


def as_query(text: str) -> str | Path:
    """What the command line gives: the path of a picture or a sound, else a text. An empty one is refused."""
    if not text.strip():
        raise DataError("nothing to search for: an empty query", hint="give words, a picture or a sound file")
    if not names_media(text):
        return text
    if not Path(text).is_file():
        raise DataError(f"{text} is not a file", hint="give a picture, a sound file, or words")
    return Path(text)


def query_kind(query: str | Path | bytes) -> str:
    """What a query is: a string is a text, a path what its ending says."""
    kind = "text" if isinstance(query, str) else media_of(query) if isinstance(query, Path) else None
    if kind is None:
        raise DataError(f"{query!r:.80} is neither a picture nor a sound", hint="give png, jpg, wav, flac, ogg or mp3")
    return kind
