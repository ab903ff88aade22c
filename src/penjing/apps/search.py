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

from penjing.apps.relevance import calibrate_thresholds
from penjing.artifact.manifest import read_manifest
from penjing.data.formats import ignored_note, media_of
from penjing.data.rows import names_media
from penjing.data.text_files import encoding_note
from penjing.errors import ArtifactError, DataError
from penjing.index.build import put_all
from penjing.index.catalog import Item
from penjing.index.choice import Measured, Wanted
from penjing.index.fields import broken_tables, fields_of
from penjing.index.files import Files, Found, find_files
from penjing.index.moves import hash_known, keep_moved
from penjing.index.store import Store, known_places
from penjing.index.vectors import Vectors
from penjing.runtimes.integrity import verified_files
from penjing.values import FloatArray, Tell, silent

MOST_TEXTS = 100
"""Names of files that stand for what people type, when a form is measured."""


@dataclass(frozen=True, slots=True)
class Indexed:
    """What an indexing did, and what the index is by now.

    `moved` files were known by their content elsewhere, `missing` ones are not there and stay until they are removed by
    `forget`. `notes` say in a line each what was left out, and why.
    """

    index: str
    items: Mapping[str, int]
    read: int
    unchanged: int
    moved: int
    missing: int
    removed: int
    notes: tuple[str, ...]
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
    """An item that was found, with the cosine between it and what was looked for.

    It is `missing` where its file was not there when the index was last brought up to date. `relevant` says whether the
    cosine is one from which on items are what a text asks for; None where that is not known: of queries that are no
    text, of sounds, and of models that the built-in pairs say nothing about.
    """

    id: int
    path: str
    kind: str
    title: str
    text: str
    fields: Mapping[str, str]
    score: float
    missing: bool = False
    relevant: bool | None = None

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


def index(  # noqa: PLR0913 - what the command takes
    model: Embedding,
    places: Sequence[str],
    folder: str,
    wanted: Wanted,
    *,
    anew: bool = False,
    forget: bool = False,
    tell: Tell = silent,
) -> Indexed:
    """Bring an index up to date with folders and files: what is new or has changed is read.

    A file that is missing stays in the index, for its disk may not be mounted; with `forget` it leaves. A file that was
    moved is known again by its content, and not embedded anew. Files that cannot be read are named in the result. A
    killed run goes on where it was. A place that is missing or has nothing is a mistake, found before anything is made;
    one that the index is of already may be missing.
    """
    start = time.perf_counter()
    kinds = {*model.runner.modalities}
    known = known_places(Path(folder))
    find_files([place for place in places if os.path.abspath(place) not in known], kinds)
    with Store.written(Path(folder)) as store:
        store.begin(model.key, model.artifact, anew=anew)
        store.check_wanted(wanted)
        files = find_files(store.places(places), kinds, known=True)
        moved, removed, changed = _follow_files(store, files, forget=forget, tell=tell)
        put_all(store, changed, model.runner, wanted.threads, tell)
        form = store.settle(_texts(model.runner, store), wanted, tell)
        _calibrate(store, model.runner, tell)
        missing = store.catalog.missing()
        return Indexed(
            index=folder,
            items=store.catalog.counts(),
            read=len(changed),
            unchanged=len(files.indexed) - len(changed) - moved,
            moved=moved,
            missing=len(missing),
            removed=removed,
            notes=_notes(files, missing, changed),
            faults={**store.catalog.faults(), **broken_tables(map(Path, files.indexed))},
            seconds=time.perf_counter() - start,
            size_bytes=store.size_bytes,
            form=form,
        )


def _calibrate(store: Store, runner: Any, tell: Tell) -> None:
    """Calibrate what counts as found for kinds that are new in the index."""
    calibrated = {*(store.catalog["calibrated"] or [])}
    if new := {*store.catalog.counts()} - calibrated:
        thresholds = calibrate_thresholds(runner, new, tell)
        with store.catalog as catalog:
            catalog["thresholds"] = {**(catalog["thresholds"] or {}), **thresholds}
            catalog["calibrated"] = sorted(calibrated | new)


def _follow_files(store: Store, files: Files, *, forget: bool, tell: Tell) -> tuple[int, int, list[Found]]:
    """Note what is missing and what has moved; returns files moved, files forgotten, and files to read."""
    with store.catalog as catalog:
        catalog.mark_missing(files.indexed)
    hash_known(store.catalog, tell)
    with store.catalog as catalog:
        changed = catalog.changed(files.indexed)
        moves = keep_moved(catalog, changed)
        removed = catalog.forget_missing() if forget else 0
        catalog.renew_fields(fields_of)
    missing = store.catalog.missing()
    store.drop_places(
        [place for place in files.absent if not any(Path(path).is_relative_to(place) for path in missing)]
    )
    unread = {file.path for file in moves.values()}
    return len(moves), removed, [file for file in changed if file.path not in unread]


def _notes(files: Files, missing: Sequence[str], changed: Sequence[Found]) -> tuple[str, ...]:
    """What to know about files that are not read, are missing, or are in an encoding that was judged."""
    absent = ", ".join(files.absent)
    gone = (
        f"missing: {len(missing)} files stay in the index ({absent or missing[0]} is not there; " if missing else None
    )
    notes = (
        f"{gone}--forget removes them)" if gone else None,
        ignored_note(files.others, files.outside, files.closed),
        encoding_note(Path(file.path) for file in changed if file.kind == "text"),
    )
    return tuple(note for note in notes if note is not None)


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
        return self.near(vector, count, only, kind)

    def near(
        self, vector: FloatArray, count: int = 10, only: Filter | None = None, query_kind: str | None = None
    ) -> list[Hit]:
        """The items nearest to a unit vector (width,) of a query of a kind, nearest first."""
        thresholds = self.thresholds if query_kind == "text" else {}
        only = only or Filter()
        among = self._store.catalog.matching(only.path, only.kind, only.fields, only.name)
        vectors = self._vectors()
        if vectors is None or among == []:
            return []
        scores, numbers = vectors.search(vector[None], count, among)
        found = self._store.catalog.items(number for number in numbers[0] if number >= 0)
        return [
            Hit(
                int(number),
                item.path,
                item.kind,
                item.title,
                item.text,
                dict(item.fields or {}),
                float(score),
                item.missing,
                float(score) >= thresholds[item.kind] if item.kind in thresholds else None,
            )
            for score, number in zip(scores[0], numbers[0], strict=True)
            if (item := found.get(int(number))) is not None
        ]

    @property
    def thresholds(self) -> Mapping[str, float]:
        """The cosine from which on items of a kind are what a text asks for, by kind; see `relevance`."""
        return self._store.catalog["thresholds"] or {}

    def language_note(self, query: str | Path | bytes) -> str | None:
        """Say that a query is probably in a language that the model does not know; None where it is not."""
        coverage = getattr(self._runner, "word_coverage", None)
        note: str | None = coverage.note(query) if coverage is not None and isinstance(query, str) else None
        return note

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
