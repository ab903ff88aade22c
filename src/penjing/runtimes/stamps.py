"""When things are said: a speech model spells times between its words, by rules that say what may follow what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from penjing.runtimes.decoding import Allowed, log_sum_exp
from penjing.values import FloatArray

STEP_S = 0.02
"""From one token of time to the next."""
LATEST_START_S = 1.0
"""The first words of a clip begin no later."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """Tokens of what is said between two times of a clip."""

    start_s: float
    end_s: float
    tokens: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class LeftOff:
    """The time that ends what was spelled, and whether a phrase begins there whose words were not spelled."""

    time_s: float
    begun: bool


class Stamped:
    """Lets a decoder spell times: in pairs around words, never backwards, none behind the end of the clip.

    Tokens of time begin at `first`, 0 s. A time is taken as soon as all times together are likelier than the likeliest
    word (Radford et al. 2022, arXiv:2212.04356, section 4.5).
    """

    def __init__(self, banned: Allowed, first: int, end: int, clip_s: float) -> None:
        self._banned, self._first, self._end = banned, first, end
        self._last = first + int(clip_s / STEP_S)

    def __call__(self, logits: FloatArray, tokens: Sequence[int]) -> FloatArray:
        """Set what may not follow these tokens to minus infinity, in place."""
        logits = self._banned(logits, tokens)
        first = self._first
        logits[first - 1] = -np.inf  # the token that says: no times
        logits[self._last + 1 :] = -np.inf
        if not tokens:
            logits[:first] = -np.inf
            logits[first + int(LATEST_START_S / STEP_S) + 1 :] = -np.inf
            return logits
        times = [token for token in tokens if token >= first]
        begins, opened = tokens[-1] >= first, len(times) % 2 == 1
        if begins and opened:
            logits[first:] = -np.inf
            return logits
        if begins:
            logits[: self._end] = -np.inf
        # What has begun takes some time; what comes next may begin at once.
        logits[first : times[-1] + (0 if begins else 1)] = -np.inf
        if log_sum_exp(logits[first:]) > logits[:first].max():
            logits[:first] = -np.inf
        return logits


def stretches(tokens: Sequence[int], first: int, clip_s: float) -> list[Stretch]:
    """What was said from when to when; words behind the last time last until the clip ends."""
    found: list[Stretch] = []
    start_s, words = 0.0, list[int]()
    for token in tokens:
        if token < first:
            words.append(token)
            continue
        time_s = min((token - first) * STEP_S, clip_s)
        if words:
            found.append(Stretch(start_s, time_s, tuple(words)))
        start_s, words = time_s, []
    return [*found, Stretch(start_s, clip_s, tuple(words))] if words else found


def left_off(tokens: Sequence[int], first: int) -> LeftOff | None:
    """Where the model left off; None where words stand at the end of what was spelled, and of nothing."""
    if not tokens or tokens[-1] < first:
        return None
    begun = len(tokens) == 1 or tokens[-2] >= first
    return LeftOff((tokens[-1] - first) * STEP_S, begun)
