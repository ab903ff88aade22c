"""Which form an index is kept in: the smallest that finds nearly all that exact search finds, measured on the index."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from penjing.errors import DataError, did_you_mean
from penjing.index.specs import FLOAT16, Spec, check_form, specs
from penjing.index.vectors import Buckets, Vectors
from penjing.values import Array, FloatArray, Tell

SCREENED_ON = 20_000
"""Forms are tried on so many vectors, and what is near the queries, before one is made of all."""
AROUND = 64
"""What is near a query: so many of the nearest."""
BLOCK = 65_536
RECALL = 0.95
COMPRESSED_FROM = 20_000
"""Fewer vectors keep everything, in float16, unless something else is asked for."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A form on an index: the share of exact search's nearest that it finds, and what a query and an item take."""

    form: str
    recall: float
    at: int
    queries: int
    buckets: int
    looks_into: int
    bytes_per_item: float
    p50_ms: float
    p95_ms: float

    def as_json(self) -> dict[str, Any]:
        """Return a plain dict."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked of a form: a share of the nearest `at`; or the form itself, by name.

    Where no share is named, few vectors keep everything: what was rounded once cannot be compressed anew when the index
    has grown.
    """

    recall: float | None = None
    at: int = 10
    form: str | None = None
    threads: int = 1

    def __post_init__(self) -> None:
        if self.form is not None:
            check_form(self.form)

    @property
    def names_a_form(self) -> bool:
        """Whether anything is asked of the form."""
        return self.recall is not None or self.form is not None


@dataclass(frozen=True, eq=False, slots=True)
class Queries:
    """Vectors (n, width) that are looked for, and for each the row of the index that it is itself, −1 for none."""

    vectors: FloatArray
    rows: Array


def chosen(
    vectors: Array, numbers: Sequence[int], queries: Queries, wanted: Wanted, tell: Tell
) -> tuple[Vectors, Measured]:
    """Encode vectors (n, width) in the smallest form that finds as much as is wanted; the measure is of all of them."""
    least = RECALL if wanted.recall is None else wanted.recall
    around = exact(vectors, queries, max(wanted.at, AROUND))
    nearest = around[:, : wanted.at]
    ids = np.asarray(numbers, np.int64)
    goal = Goal(np.where(nearest < 0, -1, ids[nearest]), np.where(queries.rows < 0, -1, ids[queries.rows]), least)
    lying = Buckets(vectors, wanted.threads)
    for spec in _promising(vectors, queries, around, lying, wanted, tell):
        tell(f"encode: {spec.name}", 0, 0)
        made = Vectors.trained(spec, vectors, wanted.threads, lying)
        made.add(vectors, ids)
        found = measured(made, queries.vectors, goal)
        if found.recall >= least or wanted.form or spec.name == FLOAT16:
            return made, found
    raise AssertionError("float16 is always good enough")


def _promising(
    vectors: Array, queries: Queries, around: Array, lying: Buckets, wanted: Wanted, tell: Tell
) -> Iterator[Spec]:
    """Forms that find enough in a part of the index, smallest first.

    The part has all that is near the queries, (queries, n) rows of `around`, for it is these that a coarse form
    confuses; and the buckets of the whole, for a form keeps what is left of a vector in its bucket. What shortens
    vectors has buckets of its own: as full ones.
    """
    every = specs(vectors.shape[1], len(vectors))
    form = wanted.form or (FLOAT16 if wanted.recall is None and len(vectors) < COMPRESSED_FROM else None)
    if form is not None:
        names = {spec.name: spec for spec in every}
        if form not in names:
            raise DataError(f"no form called {form!r} for {len(vectors)} vectors", hint=did_you_mean(form, [*names]))
        yield names[form]
        return
    least = RECALL if wanted.recall is None else wanted.recall
    spread = np.arange(0, len(vectors), -(-len(vectors) // SCREENED_ON))
    rows = np.unique(np.concatenate([around[around >= 0], spread]))
    part = np.ascontiguousarray(vectors[rows], np.float32)
    goal = Goal(around[:, : wanted.at], queries.rows, least)
    few = Buckets(part, wanted.threads, max(1, lying.count * len(part) // len(vectors)))
    for place, spec in enumerate(every[:-1]):
        tell("try forms", place, len(every))
        if len(part) >= spec.least:
            made = Vectors.trained(spec, part, wanted.threads, few if spec.before else lying)
            made.add(part, rows)
            if measured(made, queries.vectors, goal).recall >= least:
                yield spec
    yield every[-1]


@dataclass(frozen=True, eq=False, slots=True)
class Goal:
    """Numbers (queries, at) of the nearest, −1 for none; of the item that a query is itself, −1; the share to find."""

    nearest: Array
    itself: Array
    least: float


def measured(vectors: Vectors, queries: FloatArray, goal: Goal) -> Measured:
    """Find how much of the nearest is found, looking into as few buckets as that takes, one query after another."""
    looks, at = 1, goal.nearest.shape[1]
    while True:
        vectors.looks_into = looks
        hits, times = [], []
        for query, own, right in zip(queries, goal.itself, goal.nearest, strict=True):
            start = time.perf_counter()
            _, found = vectors.search(query[None], at + 1)
            times.append(time.perf_counter() - start)
            others = [number for number in found[0] if number != own][:at]
            hits.append(len({*others} & {*right[right >= 0]}) / max(1, int((right >= 0).sum())))
        recall = float(np.mean(hits))
        if recall >= goal.least or looks >= vectors.buckets:
            break
        looks = min(2 * looks, vectors.buckets)
    p50, p95 = (float(1000 * np.quantile(times, share)) for share in (0.5, 0.95))
    size = vectors.size_bytes / max(1, len(vectors))
    return Measured(vectors.spec.name, recall, at, len(queries), vectors.buckets, looks, size, p50, p95)


def exact(vectors: Array, queries: Queries, count: int) -> Array:
    """Rows (queries, count) of the nearest by cosine, nearest first, itself left out; −1 where there are fewer."""
    best = np.full((len(queries.vectors), count), -np.inf, np.float32)
    rows = np.full(best.shape, -1)
    for first in range(0, len(vectors), BLOCK):
        block = np.asarray(vectors[first : first + BLOCK], np.float32)
        scores = queries.vectors @ block.T
        own = queries.rows - first
        inside = np.flatnonzero((own >= 0) & (own < len(block)) & (queries.rows >= 0))
        scores[inside, own[inside]] = -np.inf
        every = np.concatenate([best, scores], 1)
        places = np.concatenate([rows, np.broadcast_to(np.arange(first, first + len(block)), scores.shape)], 1)
        order = np.argpartition(-every, min(count, every.shape[1] - 1), axis=1)[:, :count]
        best, rows = np.take_along_axis(every, order, 1), np.take_along_axis(places, order, 1)
    order = np.argsort(-best, axis=1, kind="stable")
    best, rows = np.take_along_axis(best, order, 1), np.take_along_axis(rows, order, 1)
    return np.where(np.isfinite(best), rows, -1)
