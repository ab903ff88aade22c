"""Buckets that vectors lie in: a query looks into a few, and a form keeps what a vector has beside their middles."""

from __future__ import annotations

import math
from functools import cached_property

import numpy as np

from penjing.extras import need
from penjing.values import Array, FloatArray

BUCKETS_FROM = 100_000
"""From so many vectors on they lie in buckets; fewer all lie in one."""
LEARNED_FROM = 20
"""Vectors a bucket, at most, that middles and codes learn from."""
LEAST_LEARNED_FROM = 65_536
ROUNDS = 10
"""Of k-means."""
ONE_LEVEL = 256
"""Up to so many buckets are found at once."""


def bucket_count(vectors: int) -> int:
    """How many buckets so many vectors lie in: some 16 times their root, a power of two.

    The more there are, the less is left of a vector beside the middle of its own, and the more the middles take: 17
    bytes an item at a million vectors of 512 numbers.
    """
    return 1 if vectors < BUCKETS_FROM else 1 << round(math.log2(16 * math.sqrt(vectors)))


class Buckets:
    """Those that vectors (n, width) lie in; found when first asked for, the same for all forms."""

    def __init__(self, vectors: Array, threads: int) -> None:
        self.count = bucket_count(len(vectors))
        self._vectors, self._threads = vectors, threads

    @cached_property
    def sample(self) -> FloatArray:
        """(some, width) of the vectors, evenly spaced, that middles and codes learn from."""
        return spaced(self._vectors, max(LEAST_LEARNED_FROM, LEARNED_FROM * self.count))

    @cached_property
    def middles(self) -> FloatArray:
        """(count, width), each the mean of its bucket."""
        need("faiss", "search").omp_set_num_threads(self._threads)
        if self.count <= ONE_LEVEL:
            return means(self.sample, self.count)
        return means_in_parts(self.sample, self.count)


def means_in_parts(vectors: FloatArray, count: int) -> FloatArray:
    """(count, width): means of buckets within some √count parts, as many in each as it has vectors for.

    k-means over all of them would cost some √count times as much; docs/search.md has both measured.
    """
    parts = means(vectors, round(math.sqrt(count)))
    part = nearest(vectors, parts)
    share = count * np.bincount(part, minlength=len(parts)) / len(vectors)
    counts = np.floor(share).astype(int)
    counts[np.argsort(counts - share)[: count - counts.sum()]] += 1
    return np.concatenate([means(vectors[part == place], int(one)) for place, one in enumerate(counts) if one])


def means(vectors: FloatArray, count: int) -> FloatArray:
    """(count, width): the middles that k-means finds; where there are fewer vectors, some twice."""
    faiss = need("faiss", "search")
    if len(vectors) <= count:
        return vectors[np.arange(count) % len(vectors)]
    form = faiss.Clustering(vectors.shape[1], count)
    form.niter, form.min_points_per_centroid, form.max_points_per_centroid = ROUNDS, 1, len(vectors)
    form.train(vectors, faiss.IndexFlatL2(vectors.shape[1]))
    return np.asarray(faiss.vector_to_array(form.centroids)).reshape(count, -1)


def nearest(vectors: FloatArray, middles: FloatArray) -> Array:
    """Rows (n,) of the nearest middle."""
    found: Array = need("faiss", "search").knn(vectors, middles, 1)[1][:, 0]
    return found


def spaced(vectors: Array, most: int) -> FloatArray:
    """So many of the rows, evenly spaced, as float32."""
    return np.ascontiguousarray(vectors[:: max(1, -(-len(vectors) // most))], np.float32)
