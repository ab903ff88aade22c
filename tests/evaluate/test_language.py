"""Perplexity: every token once, with enough before it; against a plain loop."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penjing.evaluate.language import evaluate_language, nats, surprise_of, windows

pytestmark = pytest.mark.shop
VOCABULARY = 7


def table_logits(tokens):
    """What follows depends on the token alone: row t of a fixed table."""
    table = np.random.default_rng(0).normal(size=(VOCABULARY, VOCABULARY)).astype(np.float32)
    return table[np.asarray(tokens)]


@given(st.integers(0, 300), st.sampled_from([(8, 4), (8, 1), (10, 5), (512, 256)]))
def test_every_token_but_the_first_is_scored_once_with_context(count, shape):
    window, stride = shape
    scored = []
    for first, begin, last in windows(count, window, stride):
        assert last - first <= window
        assert begin - first >= (1 if first == 0 else window - stride)
        scored += range(begin, last)
    assert scored == list(range(1, count))


def test_nats_by_hand():
    logits = np.log(np.array([[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]], np.float32)) + 3
    assert nats(logits, np.array([1, 2])).tolist() == pytest.approx([math.log(4), -math.log(0.8)], rel=1e-5)


def test_windows_change_nothing_where_only_the_last_token_counts():
    tokens = np.random.default_rng(1).integers(0, VOCABULARY, 100).tolist()
    whole = nats(table_logits(tokens[:-1]), np.array(tokens[1:])).sum()
    for window in (8, 30, 512):
        total, count = surprise_of(tokens, table_logits, window)
        assert count == 99
        assert total == pytest.approx(whole, rel=1e-6)


def test_a_model_that_knows_nothing_is_as_perplexed_as_its_vocabulary_is_large():
    texts = [[1, 2, 3], [4, 5, 6, 0, 1], [2]]
    found = evaluate_language(texts, lambda tokens: np.zeros((len(tokens), VOCABULARY), np.float32), 512)
    assert found["perplexity"].value == pytest.approx(VOCABULARY)
    assert found["perplexity"].denominator.tolist() == [2, 4, 0]


def test_progress_is_told():
    told = []
    evaluate_language([[1, 2], [3, 4]], table_logits, 512, lambda done, total: told.append((done, total)))
    assert told == [(1, 2), (2, 2)]
