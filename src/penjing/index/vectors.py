"""Vectors in a form that takes few bytes, by the numbers of their items. faiss keeps and compares them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from penjing.errors import ArtifactError
from penjing.extras import need
from penjing.index.specs import FLOAT16, Spec, buckets
from penjing.values import Array, FloatArray

AGAIN = 10
"""Where a fine form ranks again, so many times as many items are found first."""
TRAINED_ON = 40
"""Vectors a bucket, at most, that buckets and codes learn from."""
LEAST_TRAINED_ON = 65_536
ROUNDS, POINTS = 10, 64
"""Of k-means, for buckets and for codebooks; and vectors for each entry of a codebook, at most."""
AT_ONCE = 65_536
"""Vectors that are encoded at once."""


class Buckets:
    """How many buckets vectors (n, width) lie in, and their middles: found when first asked for, the same for all forms
    that do not turn or shorten vectors before."""

    def __init__(self, vectors: Array, threads: int, count: int | None = None) -> None:
        self.count = count or buckets(len(vectors))
        self._vectors, self._threads = vectors, threads

    @property
    def learns_from(self) -> int:
        """Vectors, at most, that middles and codes learn from."""
        return max(LEAST_TRAINED_ON, TRAINED_ON * self.count)

    @cached_property
    def middles(self) -> FloatArray:
        """(count, width), by spherical k-means."""
        faiss = need("faiss", "search")
        faiss.omp_set_num_threads(self._threads)
        form = faiss.Clustering(self._vectors.shape[1], self.count)
        form.spherical, form.niter, form.min_points_per_centroid = True, ROUNDS, 1
        flat = faiss.IndexFlatIP(self._vectors.shape[1])
        form.train(_some(self._vectors, self.learns_from), flat)
        return np.asarray(flat.reconstruct_n(0, self.count), np.float32)


class Vectors:
    """Unit vectors by number. What is found is ranked by cosine, as near as the form keeps it."""

    def __init__(self, spec: Spec, base: Any, fine: Any = None) -> None:
        self.spec = spec
        self._base, self._fine = base, fine
        self._blank: Vectors | None = None

    @classmethod
    def trained(cls, spec: Spec, vectors: Array, threads: int, lying: Buckets | None = None) -> Vectors:
        """Empty ones, in a form that learned from a part of such vectors (n, width), lying in buckets of theirs."""
        faiss = need("faiss", "search")
        faiss.omp_set_num_threads(threads)
        lying = lying or Buckets(vectors, threads)
        base = faiss.index_factory(vectors.shape[1], spec.factory(lying.count), faiss.METRIC_INNER_PRODUCT)
        if spec.name == FLOAT16:  # the same numbers each time they are read and stored again
            base.by_residual = False
        inside, some = faiss.extract_index_ivf(base), _some(vectors, lying.learns_from)
        inside.cp.min_points_per_centroid = 1  # of few, it warns; they are measured anyway
        if hasattr(base, "pq"):
            base.pq.cp.niter, base.pq.cp.max_points_per_centroid = ROUNDS, POINTS
            base.do_polysemous_training = False  # codes in an order that nothing here reads; it takes most of the time
        if not spec.before:
            inside.quantizer.add(lying.middles)
        base.train(some)
        fine = None
        if spec.fine:
            fine = faiss.index_factory(vectors.shape[1], f"IDMap2,{spec.fine}", faiss.METRIC_INNER_PRODUCT)
            fine.train(some)
        return cls(spec, base, fine)

    @classmethod
    def read(cls, spec: Spec, folder: Path) -> Vectors:
        """What `write` wrote."""
        faiss = need("faiss", "search")
        try:
            base, *fine = (faiss.read_index(os.fspath(path)) for path in _places(spec, folder))
        except RuntimeError as error:
            raise ArtifactError(f"{folder} is damaged", hint="make the index anew") from error
        return cls(spec, base, *fine)

    def write(self, folder: Path) -> None:
        """Write into a folder, which is made."""
        faiss = need("faiss", "search")
        folder.mkdir(parents=True)
        for index, path in zip(self._forms, _places(self.spec, folder), strict=True):
            faiss.write_index(index, os.fspath(path))

    def __len__(self) -> int:
        return int(self._base.ntotal)

    @property
    def size_bytes(self) -> int:
        """What is stored, codebooks and all."""
        faiss = need("faiss", "search")
        return sum(int(faiss.serialize_index(index).nbytes) for index in self._forms)

    @property
    def width(self) -> int:
        """Of the vectors that are put in."""
        return int(self._base.d)

    @property
    def looks_into(self) -> int:
        """Buckets that a query looks into."""
        return int(self._inside.nprobe)

    @looks_into.setter
    def looks_into(self, count: int) -> None:
        self._inside.nprobe = count

    @property
    def buckets(self) -> int:
        """How many there are."""
        return int(self._inside.nlist)

    def add(self, vectors: Array, numbers: Sequence[int] | Array) -> None:
        """Encode vectors (n, width)."""
        ids = np.asarray(numbers, np.int64)
        for first in range(0, len(ids), AT_ONCE):
            some = np.ascontiguousarray(vectors[first : first + AT_ONCE], np.float32)
            for index in self._forms:
                index.add_with_ids(some, ids[first : first + AT_ONCE])

    def remove(self, numbers: Sequence[int]) -> None:
        """Let go of vectors."""
        for index in self._forms:
            index.remove_ids(np.asarray(numbers, np.int64))

    def numbers(self) -> list[int]:
        """Of all that are kept, in order."""
        faiss = need("faiss", "search")
        lists = self._inside.invlists
        found = [faiss.rev_swig_ptr(lists.get_ids(place), lists.list_size(place)) for place in range(self.buckets)]
        return sorted(int(number) for part in found for number in part)

    def decoded(self, numbers: Sequence[int]) -> FloatArray:
        """Vectors (n, width) as they are kept."""
        faiss = need("faiss", "search")
        if self._fine is None:
            self._inside.set_direct_map_type(faiss.DirectMap.Hashtable)
        index = self._base if self._fine is None else self._fine
        found = np.empty((len(numbers), self.width), np.float32)
        for place, number in enumerate(numbers):
            found[place] = index.reconstruct(int(number))
        return found

    def as_kept(self, vectors: FloatArray) -> FloatArray:
        """Vectors (n, width) as they would be kept in this form, though they are not put in."""
        faiss = need("faiss", "search")
        self._blank = self._blank or Vectors(self.spec, *(faiss.clone_index(index) for index in self._forms))
        for index in self._blank._forms:
            index.reset()
        self._blank.add(vectors, range(len(vectors)))
        return self._blank.decoded(range(len(vectors)))

    def search(self, queries: FloatArray, count: int, among: Sequence[int] | None = None) -> tuple[FloatArray, Array]:
        """Cosines and numbers (queries, count) of the nearest, of all or of some; the number is −1 where fewer are."""
        wanted = count * AGAIN if self._fine is not None else count
        given = np.ascontiguousarray(queries, np.float32)
        scores, numbers = self._base.search(given, min(wanted, max(1, len(self))), params=self._parameters(among))
        if self._fine is not None:
            return self._ranked(given, numbers, count)
        return _filled(scores, numbers, count)

    def _ranked(self, queries: FloatArray, numbers: Array, count: int) -> tuple[FloatArray, Array]:
        """Rank what was found by its fine form."""
        vectors = self._fine.reconstruct_batch(np.where(numbers < 0, numbers.max(), numbers).ravel())
        scores = np.einsum("qw,qnw->qn", queries, vectors.reshape(*numbers.shape, -1))
        scores = np.where(numbers < 0, -np.inf, scores)
        order = np.argsort(-scores, axis=1, kind="stable")[:, :count]
        return _filled(np.take_along_axis(scores, order, 1), np.take_along_axis(numbers, order, 1), count)

    def _parameters(self, among: Sequence[int] | None) -> Any:
        """Which items may be found: of some, all buckets are looked into."""
        if among is None:
            return None
        faiss = need("faiss", "search")
        chosen = faiss.IDSelectorBatch(np.asarray(among, np.int64))
        inside = faiss.SearchParametersIVF(sel=chosen, nprobe=self.buckets)
        return faiss.SearchParametersPreTransform(index_params=inside) if self.spec.before else inside

    @property
    def _forms(self) -> list[Any]:
        return [self._base] if self._fine is None else [self._base, self._fine]

    @property
    def _inside(self) -> Any:
        """The part of the base that has buckets."""
        return need("faiss", "search").extract_index_ivf(self._base)


def _places(spec: Spec, folder: Path) -> list[Path]:
    return [folder / f"{name}.faiss" for name in (("base", "fine") if spec.fine else ("base",))]


def _some(vectors: Array, most: int) -> FloatArray:
    """So many of the rows, evenly spaced, as float32."""
    return np.ascontiguousarray(vectors[:: max(1, -(-len(vectors) // most))], np.float32)


def _filled(scores: FloatArray, numbers: Array, count: int) -> tuple[FloatArray, Array]:
    """Columns up to `count`, where fewer were found."""
    missing = ((0, 0), (0, max(0, count - numbers.shape[1])))
    return np.pad(scores, missing, constant_values=-np.inf), np.pad(numbers, missing, constant_values=-1)
