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
from penjing.index.buckets import LEAST_LEARNED_FROM, ROUNDS, Buckets, nearest, spaced
from penjing.index.specs import FLOAT16, Spec, is_power_of_two
from penjing.values import Array, FloatArray

AGAIN = 10
"""Where a fine form ranks again, so many times as many items are found first."""
SEED = 0
POINTS = 64
"""Vectors for each entry of a codebook, at most."""
AT_ONCE = 65_536
"""Vectors that are encoded at once."""


class Vectors:
    """Unit vectors by number. What is found is ranked by cosine, as near as the form keeps it."""

    def __init__(self, spec: Spec, base: Any, fine: Any = None) -> None:
        self.spec = spec
        self._base, self._fine = base, fine

    @classmethod
    def trained(cls, spec: Spec, lying: Buckets, threads: int) -> Vectors:
        """Empty ones, in a form that learned from a part of the vectors that lie in these buckets."""
        faiss = need("faiss", "search")
        faiss.omp_set_num_threads(threads)
        sample = lying.sample
        base = faiss.index_factory(spec.width, spec.factory(lying.count), faiss.METRIC_INNER_PRODUCT)
        if spec.name == FLOAT16:  # the same numbers each time they are read and stored again
            base.by_residual = False
        if hasattr(base, "pq"):
            base.pq.cp.niter, base.pq.cp.max_points_per_centroid = ROUNDS, POINTS
            base.do_polysemous_training = False  # codes in an order that nothing here reads; it takes most of the time
        if spec.turns:
            turn = turn_of(sample, spec.width)
            base = faiss.IndexPreTransform(turn, base)
        made = cls(spec, base)
        made._inside.quantizer.add(made._turned(lying.middles))
        made._learn(spaced(sample, LEAST_LEARNED_FROM))
        if spec.fine:
            made._fine = faiss.index_factory(sample.shape[1], f"IDMap2,{spec.fine}", faiss.METRIC_INNER_PRODUCT)
            made._fine.train(sample)
        return made

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
        """Encode vectors (n, width), each in the bucket whose middle is nearest."""
        faiss, middles = need("faiss", "search"), self._middles
        ids = np.asarray(numbers, np.int64)
        for first in range(0, len(ids), AT_ONCE):
            some = np.ascontiguousarray(vectors[first : first + AT_ONCE], np.float32)
            if self._fine is not None:
                self._fine.add_with_ids(some, ids[first : first + AT_ONCE])
            turned = self._turned(some)
            given = (turned, ids[first : first + AT_ONCE], nearest(turned, middles))
            self._inside.add_core(len(some), *map(faiss.swig_ptr, given))
        self._base.ntotal = self._inside.ntotal

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
        """Vectors (n, width) as they are kept; of more bits than one a number, faiss gives back the first bit alone."""
        faiss = need("faiss", "search")
        if self._fine is None:
            self._inside.set_direct_map_type(faiss.DirectMap.Hashtable)
        index = self._base if self._fine is None else self._fine
        found = np.empty((len(numbers), self.width), np.float32)
        for place, number in enumerate(numbers):
            found[place] = index.reconstruct(int(number))
        return found

    def scores(self, queries: FloatArray, vectors: FloatArray) -> FloatArray:
        """(queries, n): what a search would say of vectors (n, width) if they were put in; −∞ of what it would miss."""
        faiss = need("faiss", "search")
        blank = Vectors(self.spec, *(faiss.clone_index(index) for index in self._forms))
        for index in blank._forms:
            index.reset()
        blank.add(vectors, range(len(vectors)))
        found = np.full((len(queries), len(vectors)), -np.inf, np.float32)
        for row, scores, numbers in zip(found, *blank.search(queries, len(vectors)), strict=True):
            row[numbers[numbers >= 0]] = scores[numbers >= 0]
        return found

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
        return faiss.SearchParametersPreTransform(index_params=inside) if self.spec.turns else inside

    def _learn(self, sample: FloatArray) -> None:
        """Ranges or codebooks, of what vectors have beside the middles of their buckets.

        faiss would take the bucket with the largest product, where the ones here lie in the nearest one.
        """
        faiss, inside, turned = need("faiss", "search"), self._inside, self._turned(sample)
        where = nearest(turned, self._middles)
        left = turned - self._middles[where] if inside.by_residual else turned
        inside.train_encoder(len(left), faiss.swig_ptr(left), faiss.swig_ptr(where))
        inside.is_trained = self._base.is_trained = True

    def _turned(self, vectors: FloatArray) -> FloatArray:
        """Vectors (n, width) as they are encoded."""
        return np.asarray(self._base.chain.at(0).apply(vectors)) if self.spec.turns else vectors

    @cached_property
    def _middles(self) -> FloatArray:
        """Of all buckets, as they are kept."""
        return np.asarray(self._inside.quantizer.reconstruct_n(0, self.buckets))

    @property
    def _forms(self) -> list[Any]:
        return [self._base] if self._fine is None else [self._base, self._fine]

    @property
    def _inside(self) -> Any:
        """The part of the base that has buckets."""
        return need("faiss", "search").extract_index_ivf(self._base)


def _places(spec: Spec, folder: Path) -> list[Path]:
    return [folder / f"{name}.faiss" for name in (("base", "fine") if spec.fine else ("base",))]


def turn_of(sample: FloatArray, width: int) -> Any:
    """What makes vectors ready for codes of so many numbers: of as many, a turn that makes them alike in size; of
    fewer, a projection on the directions that hold most of the vectors' products.
    """
    faiss, given = need("faiss", "search"), sample.shape[1]
    if width < given:  # not those about the mean, as PCA has them: products would lose what the mean adds
        turn = faiss.LinearTransform(given, width, False)
        largest = np.linalg.eigh(sample.T @ sample)[1][:, ::-1][:, :width]
        faiss.copy_array_to_vector(np.ascontiguousarray(largest.T).ravel(), turn.A)
        turn.is_trained = True
        turn.set_is_orthonormal()
        return turn
    if is_power_of_two(width):
        return faiss.HadamardRotation(given, SEED)
    turn = faiss.RandomRotationMatrix(given, width)
    turn.init(SEED)
    return turn


def _filled(scores: FloatArray, numbers: Array, count: int) -> tuple[FloatArray, Array]:
    """Columns up to `count`, where fewer were found."""
    missing = ((0, 0), (0, max(0, count - numbers.shape[1])))
    return np.pad(scores, missing, constant_values=-np.inf), np.pad(numbers, missing, constant_values=-1)
