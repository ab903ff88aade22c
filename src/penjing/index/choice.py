"""Which form an index is kept in: the smallest that finds nearly all that exact search finds, measured on the index."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np

from penjing.errors import DataError, did_you_mean
from penjing.index.buckets import Buckets
from penjing.index.specs import FLOAT16, Spec, candidates, check_form, specs
from penjing.index.vectors import Vectors
from penjing.values import Array, FloatArray, Tell

SCREENED_ON = 20_000
"""Forms are tried on so many vectors, and what is near the queries, before one is made of all."""
AROUND = 64
"""What is near a query: so many of the nearest."""
BLOCK = 65_536
RECALL = 0.95
ALIKE = 1e-6
"""Cosines that differ by less are equal: of copies any may be found."""
COMPRESSED_FROM = 20_000
"""Fewer vectors keep everything, in float16, unless something else is asked for."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A form on an index: the share of exact search's nearest that it found when it was chosen, of so many `items` and
    by so many queries; and what a query and an item take.
    """

    form: str
    items: int
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

    def some(self, rows: slice) -> Queries:
        """A part of them."""
        return Queries(self.vectors[rows], self.rows[rows])


def chosen(
    vectors: Array, numbers: Sequence[int], queries: Queries, wanted: Wanted, tell: Tell
) -> tuple[Vectors, Measured]:
    """Encode vectors (n, width) in the smallest form that finds as much as is wanted.

    Every other query chooses among the forms; the rest, which had no say in that, measure the one that is made of all
    vectors, and another is made where it finds too little.
    """
    around = exact(vectors, queries, max(wanted.at, AROUND))
    goals = [
        Goal(vectors, queries.some(rows), around[rows, : wanted.at], RECALL if wanted.recall is None else wanted.recall)
        for rows in (slice(0, None, 2), slice(min(1, len(around) - 1), None, 2))
    ]
    lying = Buckets(vectors, wanted.threads)
    ids = np.asarray(numbers, np.int64)
    order = np.argsort(ids)
    for spec in _promising(goals[0], around, lying, wanted, tell):
        tell(f"encode: {spec.name}", 0, 0)
        made = Vectors.trained(spec, lying, wanted.threads)
        made.add(vectors, ids)
        found = measured(made, goals[1], lambda some: order[np.searchsorted(ids, some, sorter=order)])
        if found.recall >= goals[1].least:
            break
    return made, found


def _promising(goal: Goal, around: Array, lying: Buckets, wanted: Wanted, tell: Tell) -> Iterator[Spec]:
    """Forms that find enough in a part of the index, smallest first; the last one is float16.

    The part has all that is near the queries, (queries, n) rows of `around`, for it is these that a coarse form
    confuses; and the buckets of the whole, for a form keeps what a vector has beside the middle of its own.
    """
    vectors = goal.vectors
    form = wanted.form or (FLOAT16 if wanted.recall is None and len(vectors) < COMPRESSED_FROM else None)
    if form is not None:
        names = {spec.name: spec for spec in specs(vectors.shape[1], len(vectors))}
        if form not in names:
            raise DataError(f"no form called {form!r} for {len(vectors)} vectors", hint=did_you_mean(form, [*names]))
        yield names[form]
        return
    *every, last = candidates(vectors.shape[1], len(vectors))
    spread = np.arange(0, len(vectors), -(-len(vectors) // SCREENED_ON))
    rows = np.unique(np.concatenate([around[around >= 0], spread]))
    part = np.ascontiguousarray(vectors[rows], np.float32)
    for place, spec in enumerate(every):
        tell("try forms", place, len(every))
        made = Vectors.trained(spec, lying, wanted.threads)
        made.add(part, rows)
        made.looks_into = made.buckets
        if goal.asked(made).recall >= goal.least:
            yield spec
    yield last


@dataclass(frozen=True, eq=False, slots=True)
class Goal:
    """What queries are to find of vectors (n, width): the rows (queries, at) that are nearest, −1 for none; the share
    of them that is enough.
    """

    vectors: Array
    queries: Queries
    nearest: Array
    least: float

    def asked(self, made: Vectors, rows_of: Callable[[Array], Array] = np.asarray) -> Asked:
        """Ask one query after another, of vectors whose rows have numbers."""
        at, shares, times = self.nearest.shape[1], [], []
        for query, own, right in zip(self.queries.vectors, self.queries.rows, self.nearest, strict=True):
            start = time.perf_counter()
            _, numbers = made.search(query[None], at + 1)
            times.append(time.perf_counter() - start)
            rows = rows_of(numbers[0][numbers[0] >= 0])
            shares.append(self._share(query, rows[rows != own][:at], right[right >= 0]))
        return Asked(float(np.mean(shares)), *(float(1000 * np.quantile(times, share)) for share in (0.5, 0.95)))

    def _share(self, query: FloatArray, found: Array, right: Array) -> float:
        """Of what is nearest, that was found; what is as near as the last of it counts as well."""
        if not len(right):
            return 1.0
        last = float((self.vectors[right].astype(np.float32) @ query).min())
        return float(np.sum(self.vectors[found].astype(np.float32) @ query >= last - ALIKE)) / len(right)


class Asked(NamedTuple):
    """What queries found, and how long one took."""

    recall: float
    p50_ms: float
    p95_ms: float


def measured(vectors: Vectors, goal: Goal, rows_of: Callable[[Array], Array]) -> Measured:
    """Find how much of the nearest is found, looking into as few buckets as that takes."""
    vectors.looks_into = 1
    while (found := goal.asked(vectors, rows_of)).recall < goal.least and vectors.looks_into < vectors.buckets:
        vectors.looks_into = min(2 * vectors.looks_into, vectors.buckets)
    size, (count, at) = vectors.size_bytes / max(1, len(vectors)), goal.nearest.shape
    return Measured(vectors.spec.name, len(vectors), found.recall, at, count, vectors.buckets, vectors.looks_into, size,
                    found.p50_ms, found.p95_ms)  # fmt: skip


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
