"""Rank correlation: whether one number orders items as another does (Spearman, 1904)."""

from __future__ import annotations

import numpy as np

from penjing.evaluate.interval import Floats


def ranks(values: Floats) -> Floats:
    """Ranks from 1 over the last axis; equal values share the mean of their ranks. (..., items) -> (..., items)."""
    order = np.argsort(values, axis=-1, kind="stable")
    ordered = np.take_along_axis(values, order, -1)
    places = np.broadcast_to(np.arange(values.shape[-1]), values.shape)
    edge = np.ones_like(ordered[..., :1], dtype=np.bool_)
    changes = ordered[..., 1:] != ordered[..., :-1]
    first = np.maximum.accumulate(np.where(np.concatenate([edge, changes], -1), places, 0), axis=-1)
    ends = np.where(np.concatenate([changes, edge], -1), places, values.shape[-1])
    last = np.minimum.accumulate(ends[..., ::-1], axis=-1)[..., ::-1]
    found = np.empty(values.shape)
    np.put_along_axis(found, order, (first + last) / 2 + 1, -1)
    return found


def spearman(one: Floats, other: Floats) -> Floats:
    """Correlation of the ranks of two numbers of each item, 0 where one does not vary. (..., items) twice -> (...)."""
    deviations = [rank - rank.mean(axis=-1, keepdims=True) for rank in (ranks(one), ranks(other))]
    shared = (deviations[0] * deviations[1]).sum(axis=-1)
    spread = np.sqrt((deviations[0] ** 2).sum(axis=-1) * (deviations[1] ** 2).sum(axis=-1))
    return np.asarray(np.where(spread > 0, shared / np.where(spread > 0, spread, 1.0), 0.0))
