"""Wall time, measured side by side: every round times each function once, so a slow moment hits all of them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from penjing.values import Latency

FEWEST_ROUNDS = 3
"""However long one takes: a median of fewer says nothing."""


@dataclass(frozen=True, slots=True)
class Ratio:
    """How long one function takes per unit of another: the median over rounds and the quartiles."""

    value: float
    low: float
    high: float
    rounds: int

    def as_json(self) -> dict[str, float | int]:
        """Return a plain dict."""
        return {"value": self.value, "low": self.low, "high": self.high, "rounds": self.rounds}


def interleave(
    functions: Mapping[str, Callable[[], object]],
    rounds: int = 20,
    warm_up: int = 3,
    clock: Callable[[], float] = time.perf_counter,
    budget_s: float = math.inf,
) -> dict[str, list[float]]:
    """Time functions in turn: name -> milliseconds of each of `rounds` rounds, after `warm_up` untimed rounds.

    The order rotates by one each round, so nobody always runs first. `clock` tells seconds. Once `budget_s` is spent no
    round begins, but one has warmed up and three are timed.
    """
    if rounds < 1:
        raise ValueError("at least one round")
    names, begun = list(functions), clock()
    for turn in range(warm_up):
        if turn and clock() - begun >= budget_s:
            break
        for name in names:
            functions[name]()
    samples: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(rounds):
        if turn >= FEWEST_ROUNDS and clock() - begun >= budget_s:
            break
        shift = turn % max(1, len(names))
        for name in names[shift:] + names[:shift]:
            start = clock()
            functions[name]()
            samples[name].append((clock() - start) * 1e3)
    return samples


def latency(samples_ms: Sequence[float], threads: int) -> Latency:
    """Sum up the milliseconds of single calls by their median and 95th percentile."""
    p50, p95 = np.percentile(np.asarray(samples_ms, dtype=np.float64), (50, 95))
    return Latency(float(p50), float(p95), len(samples_ms), threads)


def speed_ratio(result_ms: Sequence[float], source_ms: Sequence[float]) -> Ratio:
    """Compare two interleaved series round by round: result / source, below 1 is faster."""
    if len(result_ms) != len(source_ms):
        raise ValueError(f"{len(result_ms)} rounds cannot be paired with {len(source_ms)}")
    ratios = np.asarray(result_ms, dtype=np.float64) / np.asarray(source_ms, dtype=np.float64)
    low, middle, high = np.percentile(ratios, (25, 50, 75))
    return Ratio(float(middle), float(low), float(high), len(ratios))
