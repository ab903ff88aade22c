"""Long sound in pieces a model can take: windows that touch, cover everything and are cut where it is quiet."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from penjing.values import FloatArray

HOP_S = 0.01
"""Grid of the loudness curve, and of the cuts."""
PAUSE_S = 0.25
"""A cut wants this much quiet around it: shorter than a pause between words, longer than a stop consonant."""
LONG_PAUSE_S = 1.0
"""Among equal pauses the middle of the longest wins: loudness over this span counts, but little."""
LONG_PAUSE_WEIGHT = 0.1


class Cutter:
    """Cuts long samples (n,) at the quietest points, from wherever a window begins.

    Windows last from `shortest_s` to `longest_s`, the last one of a long sound too; that needs
    `longest_s >= 2 * shortest_s`.
    """

    def __init__(self, samples: FloatArray, rate_hz: int, longest_s: float = 28.0, shortest_s: float = 12.0) -> None:
        if not 0 < 2 * shortest_s <= longest_s:
            raise ValueError(f"longest_s ({longest_s}) must be at least twice shortest_s ({shortest_s})")
        self._size = len(samples)
        self._longest, self._shortest = int(longest_s * rate_hz), int(shortest_s * rate_hz)
        self._hop = max(1, round(HOP_S * rate_hz))
        self._curve = loudness(samples, self._hop) if self._size > self._longest else np.zeros(0)

    def end_of(self, begin: int) -> int:
        """Where the window that begins at a sample ends."""
        if self._size - begin <= self._longest:
            return self._size
        last = min(begin + self._longest, self._size - self._shortest)
        return _quietest(self._curve, self._hop, begin + self._shortest, last)


def windows(
    samples: FloatArray, rate_hz: int, longest_s: float = 28.0, shortest_s: float = 12.0
) -> list[tuple[int, int]]:
    """Cut samples (n,) into consecutive (start, end) that cover all of it, as `Cutter` does."""
    cutter = Cutter(samples, rate_hz, longest_s, shortest_s)
    cuts = [0]
    while cuts[-1] < len(samples):
        cuts.append(cutter.end_of(cuts[-1]))
    return [*itertools.pairwise(cuts)]


def loudness(samples: FloatArray, hop: int) -> NDArray[np.float64]:
    """Mean square of samples (n,) around each point of a grid of `hop` samples: (n // hop + 1,)."""
    count = len(samples) // hop
    energy = np.square(samples[: count * hop], dtype=np.float64).reshape(count, hop).mean(axis=1)
    short = _smoothed(energy, max(1, round(PAUSE_S / HOP_S / 2)))
    long = _smoothed(energy, max(1, round(LONG_PAUSE_S / HOP_S / 2)))
    return short + LONG_PAUSE_WEIGHT * long


def _smoothed(energy: NDArray[np.float64], reach: int) -> NDArray[np.float64]:
    """Mean of the `reach` values before and after each border between values (n,) -> (n + 1,), shorter at the ends."""
    total = np.concatenate([[0.0], np.cumsum(energy)])
    border = np.arange(len(total))
    left, right = np.maximum(border - reach, 0), np.minimum(border + reach, len(energy))
    mean: NDArray[np.float64] = (total[right] - total[left]) / np.maximum(right - left, 1)
    return mean


def _quietest(curve: NDArray[np.float64], hop: int, first: int, last: int) -> int:
    """The sample in [first, last] where the curve is lowest; the middle one where several are equally low."""
    begin, end = -(-first // hop), last // hop
    if end < begin:
        return last
    part = curve[begin : end + 1]
    lowest = np.flatnonzero(part <= part.min() + 1e-12)
    return int(begin + lowest[len(lowest) // 2]) * hop
