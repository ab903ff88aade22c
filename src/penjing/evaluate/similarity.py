"""How near a result's outputs are to the source's, item by item: the judges that need no labels."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from penjing.evaluate.interval import Floats, ItemScores
from penjing.values import Array


def cosine(source: Iterable[Array], result: Iterable[Array]) -> ItemScores:
    """Cosine of each result with its source, all axes of an item flattened.

    Both are iterables of arrays, one per item and of any shape; (items, ...) arrays will do.
    An output that is not finite has cosine -1: it must fail every gate.
    """
    return ItemScores.mean_of("cosine", [_cosine(one, other) for one, other in zip(source, result, strict=True)])


def logit_kl(source: Iterable[Array], result: Iterable[Array]) -> ItemScores:
    """Divergence KL(source || result) in nats of each item's logits (..., classes), averaged over its positions."""
    return ItemScores.mean_of("logit_kl", [_divergence(one, other) for one, other in zip(source, result, strict=True)])


def log_softmax(logits: Array) -> Floats:
    """Logarithm of the softmax over the last axis, without overflow."""
    wide = np.asarray(logits, dtype=np.float64)
    shifted = wide - wide.max(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))


def _cosine(source: Array, result: Array) -> float:
    """Cosine of two arrays of one shape; two zeros are equal, one zero is like nothing."""
    _check_shapes(source, result)
    one, other = (np.asarray(array, dtype=np.float64).ravel() for array in (source, result))
    if not (np.isfinite(one).all() and np.isfinite(other).all()):
        return -1.0
    length = float(np.linalg.norm(one)) * float(np.linalg.norm(other))
    if length == 0.0:
        return float(np.array_equal(one, other))
    return float(np.clip(one @ other / length, -1.0, 1.0))


def _divergence(source: Array, result: Array) -> float:
    """KL(source || result) of logits (..., classes), averaged over leading axes; infinite where one is not finite."""
    _check_shapes(source, result)
    if not (np.isfinite(source).all() and np.isfinite(result).all()):
        return float("inf")
    log_p, log_q = log_softmax(source), log_softmax(result)
    return max(0.0, float((np.exp(log_p) * (log_p - log_q)).sum(axis=-1).mean()))


def _check_shapes(source: Array, result: Array) -> None:
    """Refuse to compare arrays of different shapes: broadcasting would hide a bug."""
    if np.shape(source) != np.shape(result):
        raise ValueError(f"outputs of shape {np.shape(source)} and {np.shape(result)} cannot be compared")
