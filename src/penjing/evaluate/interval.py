"""Numbers with a 95% interval: the percentile bootstrap over judged items, alone and paired (Efron & Tibshirani, 1993).

It says how far the number would move with other items of the same kind. Where every item agrees it has no width.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from penjing.errors import DataError
from penjing.values import Metric

Floats = NDArray[np.float64]
Statistic = Callable[[Floats, Floats], Floats]
"""(..., items) numerators and denominators -> (...) numbers."""

CHUNK_ITEMS = 1 << 20
QUANTILES = (0.025, 0.975)


def ratio_of_sums(numerator: Floats, denominator: Floats) -> Floats:
    """Sum of numerators over sum of denominators: WER, accuracy, recall and every mean. (..., items) -> (...).

    A sum of zero below counts as one, so inventing words where nothing was said is an error rate above zero.
    """
    below = denominator.sum(axis=-1)
    return np.asarray(numerator.sum(axis=-1) / np.where(below == 0, 1.0, below))


def exp_ratio(numerator: Floats, denominator: Floats) -> Floats:
    """Exponential of the ratio of sums: perplexity from negative log-likelihoods in nats and token counts."""
    with np.errstate(over="ignore"):
        return np.exp(ratio_of_sums(numerator, denominator))


def median(numerator: Floats, denominator: Floats) -> Floats:
    """Median of the numerators, for ranks; the denominators are not looked at."""
    return np.asarray(np.median(numerator, axis=-1))


@dataclass(frozen=True, slots=True, eq=False)
class ItemScores:
    """What each item contributes to one metric: numerator (items,), denominator (items,), and how they combine.

    `row_ids` names the row of data that each item belongs to; empty where items are no rows (outputs on synthetic
    inputs).
    """

    name: str
    numerator: Floats
    denominator: Floats
    statistic: Statistic = ratio_of_sums
    row_ids: tuple[str, ...] = ()

    @classmethod
    def mean_of(cls, name: str, values: ArrayLike, statistic: Statistic = ratio_of_sums) -> ItemScores:
        """Score every item by one number (items,) of equal weight; booleans count as 0 and 1."""
        array = np.asarray(values, dtype=np.float64)
        return cls(name, array, np.ones_like(array), statistic)

    def of_rows(self, row_ids: Sequence[str]) -> ItemScores:
        """Return the same scores with the row of each item, `row_ids` (items,)."""
        if len(row_ids) != len(self.numerator):
            raise ValueError(f"{self.name} has {len(self.numerator)} items, not {len(row_ids)}")
        return replace(self, row_ids=tuple(row_ids))

    def subset(self, row_ids: Container[str]) -> ItemScores:
        """Return the scores of the items whose row is in `row_ids`; there may be none."""
        mask = np.array([row_id in row_ids for row_id in self.row_ids], dtype=np.bool_)
        if not len(mask):
            mask = np.zeros(len(self.numerator), dtype=np.bool_)
        selected = tuple(row_id for row_id in self.row_ids if row_id in row_ids)
        return replace(self, numerator=self.numerator[mask], denominator=self.denominator[mask], row_ids=selected)

    @property
    def value(self) -> float:
        """The metric over all items."""
        return float(self.statistic(self.numerator, self.denominator))


def bootstrap(scores: ItemScores, seed: int = 0, resamples: int = 2000) -> Metric:
    """Measure a metric with its 95% percentile interval over items drawn with replacement."""
    draws = [
        scores.statistic(scores.numerator[picks], scores.denominator[picks])
        for picks in _picks(scores, seed, resamples)
    ]
    return _metric(scores.value, np.concatenate(draws), len(scores.numerator))


def paired_difference(source: ItemScores, result: ItemScores, seed: int = 0, resamples: int = 2000) -> Metric:
    """Measure result - source with its 95% interval; both are scored on the same drawn items: shared luck cancels."""
    if source.name != result.name or source.numerator.shape != result.numerator.shape:
        raise ValueError(f"{source.name} and {result.name} are not scores of the same items")
    with np.errstate(invalid="ignore"):
        draws = [
            result.statistic(result.numerator[picks], result.denominator[picks])
            - source.statistic(source.numerator[picks], source.denominator[picks])
            for picks in _picks(source, seed, resamples)
        ]
    return _metric(result.value - source.value, np.concatenate(draws), len(source.numerator))


def measure_all(scores: Mapping[str, ItemScores], seed: int = 0) -> dict[str, Metric]:
    """Measure every metric of a task."""
    return {name: bootstrap(score, seed) for name, score in scores.items()}


def differences(source: Mapping[str, ItemScores], result: Mapping[str, ItemScores], seed: int = 0) -> dict[str, Metric]:
    """Measure the paired change of every metric that both sides have."""
    return {name: paired_difference(source[name], result[name], seed) for name in source if name in result}


def _picks(scores: ItemScores, seed: int, resamples: int) -> Iterator[NDArray[np.int64]]:
    """Yield (draws, items) indices, `resamples` rows in all, in pieces that fit into memory. Same seed: same rows."""
    count = len(scores.numerator)
    if count == 0:
        raise DataError(f"nothing to judge {scores.name} by", hint="the judge part of the data is empty")
    random = np.random.default_rng(seed)
    step = max(1, CHUNK_ITEMS // count)
    for start in range(0, resamples, step):
        yield random.integers(count, size=(min(step, resamples - start), count))


def _metric(value: float, draws: Floats, count: int) -> Metric:
    """Cut the 95% interval out of bootstrap draws (resamples,)."""
    with np.errstate(invalid="ignore"):
        low, high = np.quantile(draws, QUANTILES)
    return Metric(value, float(low), float(high), count)
