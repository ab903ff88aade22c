"""Perplexity: how surprised a language model is by text, in windows that slide over it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from penjing.evaluate.interval import ItemScores, exp_ratio
from penjing.evaluate.tasks import Progress
from penjing.values import FloatArray

WINDOW_TOKENS = 512
STRIDE_TOKENS = 256
"""A window of 512 tokens moves on by 256: every token but the first ones is predicted from at least 256 before it."""

ROWS_AT_ONCE = 64

Logits = Callable[[Sequence[int]], FloatArray]
"""Tokens -> logits (tokens, vocabulary) of what follows each."""


def windows(count: int, window: int = WINDOW_TOKENS, stride: int = STRIDE_TOKENS) -> Iterator[tuple[int, int, int]]:
    """(first, first scored, last) of windows in which every token but number 0 of `count` is scored once."""
    scored = 1
    for first in range(0, max(count - 1, 0), stride):
        last = min(first + window, count)
        if last > scored:
            yield first, scored, last
            scored = last


def nats(logits: FloatArray, targets: NDArray[np.int64]) -> NDArray[np.float64]:
    """−log P(target) of each row: logits (n, vocabulary), targets (n,) -> (n,)."""
    surprise = np.empty(len(targets), np.float64)
    for first in range(0, len(targets), ROWS_AT_ONCE):  # vocabularies are large
        rows = slice(first, first + ROWS_AT_ONCE)
        wide = logits[rows].astype(np.float64)
        top = wide.max(axis=1)
        total = top + np.log(np.exp(wide - top[:, None]).sum(axis=1))
        surprise[rows] = total - wide[np.arange(len(wide)), targets[rows]]
    return surprise


def surprise_of(tokens: Sequence[int], logits: Logits, window: int = WINDOW_TOKENS) -> tuple[float, int]:
    """Nats of a text's tokens after the first, and how many those are."""
    total, count = 0.0, 0
    window = min(window, WINDOW_TOKENS)
    for first, scored, last in windows(len(tokens), window, max(1, window // 2)):
        found = logits(tokens[first:last])
        targets = np.asarray(tokens[scored:last], np.int64)
        total += float(nats(found[scored - first - 1 : last - first - 1], targets).sum())
        count += len(targets)
    return total, count


def evaluate_language(
    texts: Sequence[Sequence[int]], logits: Logits, window: int, progress: Progress | None = None
) -> dict[str, ItemScores]:
    """`perplexity` over texts given as tokens: exp of nats per token, all texts' tokens alike."""
    found = []
    for done, tokens in enumerate(texts, 1):
        found.append(surprise_of(tokens, logits, window))
        if progress:
            progress(done, len(texts))
    total, count = (np.array(part, np.float64) for part in zip(*found, strict=True))
    return {"perplexity": ItemScores("perplexity", total, count, exp_ratio)}
