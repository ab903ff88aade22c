"""Retrieval and zero-shot scores from embeddings. A tie counts against the model, so a collapsed one scores nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penjing.evaluate.catalogue import RECALL_AT
from penjing.evaluate.interval import ItemScores, median

Matrix = NDArray[np.floating[Any]]
Scored = Callable[[Matrix, Matrix], Matrix]
"""Scores (items, others) of vectors (items, width), (others, width), as `cosine_scores` gives them."""


def cosine_scores(queries: Matrix, items: Matrix) -> Matrix:
    """Cosine of every query with every item: (queries, width), (items, width) -> (queries, items); NaN becomes -inf."""
    scores = _unit(queries) @ _unit(items).T
    return np.where(np.isnan(scores), -np.inf, scores)


def best_ranks(scores: Matrix, truth: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Rank, from 1, of the best true item of each query. scores, truth (queries, items) -> (queries,).

    Wrong items that score the same as the true one stand before it; NaN stands last. A query without a true item
    ranks behind all items.
    """
    scores = np.where(np.isnan(scores), -np.inf, scores)
    best = np.where(truth, scores, -np.inf).max(axis=1, keepdims=True)
    before = ((scores >= best) & ~truth).sum(axis=1)
    return np.asarray(np.where(truth.any(axis=1), before, scores.shape[1]) + 1)


def retrieval_scores(
    scores: Matrix, pairs: NDArray[np.int64], media: str = "image", other: str = "text"
) -> dict[str, ItemScores]:
    """Recall at 1, 5 and 10 and median rank both ways, and the mean recall of both ways.

    scores (media items, others); pairs (rows, 2) holds the indices of the item and the other that belong together, so
    one picture may have many captions and one caption many pictures. The mean of both ways is resampled by row.
    """
    truth = np.zeros(scores.shape, dtype=np.bool_)
    truth[pairs[:, 0], pairs[:, 1]] = True
    forward, backward = best_ranks(scores, truth), best_ranks(scores.T, truth.T)
    there, back = f"{media}_to_{other}", f"{other}_to_{media}"
    found: dict[str, ItemScores] = {}
    for k in RECALL_AT:
        found[f"recall_at_{k}"] = _mean_of_both(f"recall_at_{k}", pairs, forward <= k, backward <= k)
    for way, ranks in ((there, forward), (back, backward)):
        for k in RECALL_AT:
            found[f"{way}_recall_at_{k}"] = ItemScores.mean_of(f"{way}_recall_at_{k}", ranks <= k)
        found[f"{way}_median_rank"] = ItemScores.mean_of(f"{way}_median_rank", ranks, median)
    return found


def zero_shot_hits(
    items: Matrix, classes: Matrix, labels: NDArray[np.int64], scored: Scored = cosine_scores
) -> NDArray[np.bool_]:
    """Whether each item is nearer to its own class than to any other.

    items (items, width), classes (classes, width), labels (items,) -> (items,).
    """
    scores = scored(items, classes)
    truth = np.arange(len(classes))[None, :] == labels[:, None]
    return np.asarray(best_ranks(scores, truth) == 1)


def _mean_of_both(
    name: str, pairs: NDArray[np.int64], forward: NDArray[np.bool_], backward: NDArray[np.bool_]
) -> ItemScores:
    """Spread the hits of both ways over the rows (rows, 2): their ratio of sums is the mean of the two recalls."""
    numerator, denominator = np.zeros(len(pairs)), np.zeros(len(pairs))
    for column, hits in ((0, forward), (1, backward)):
        index = pairs[:, column]
        weight = 1.0 / (2 * len(np.unique(index)) * np.bincount(index, minlength=len(hits))[index])
        numerator += weight * hits[index]
        denominator += weight
    return ItemScores(name, numerator, denominator)


def _unit(vectors: Matrix) -> Matrix:
    """Scale rows (n, width) to length 1; rows of zero stay zero."""
    wide = np.asarray(vectors, dtype=np.float64)
    length = np.linalg.norm(wide, axis=1, keepdims=True)
    return wide / np.where(length == 0, 1.0, length)
