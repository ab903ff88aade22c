"""Recall and ranks on matrices small enough to read, and on models that have collapsed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penjing.evaluate.interval import measure_all
from penjing.evaluate.retrieval import best_ranks, cosine_scores, retrieval_scores, zero_shot_hits

pytestmark = pytest.mark.shop


def diagonal(count: int) -> np.ndarray:
    return np.stack([np.arange(count)] * 2, axis=1)


def test_ranks_by_hand():
    scores = np.array([[0.9, 0.1, 0.2], [0.5, 0.4, 0.3], [0.1, 0.2, 0.3]])
    assert best_ranks(scores, np.eye(3, dtype=bool)).tolist() == [1, 2, 1]


def test_the_best_of_several_true_items_counts():
    truth = np.array([[True, False, True]])
    assert best_ranks(np.array([[0.1, 0.5, 0.9]]), truth).tolist() == [1]
    assert best_ranks(np.array([[0.1, 0.9, 0.5]]), truth).tolist() == [2]


def test_ties_nan_and_queries_without_truth_come_last():
    assert best_ranks(np.zeros((2, 4)), np.eye(2, 4, dtype=bool)).tolist() == [4, 4]
    assert best_ranks(np.full((1, 4), np.nan), np.eye(1, 4, dtype=bool)).tolist() == [4]
    assert best_ranks(np.array([[np.nan, 0.5]]), np.array([[True, False]])).tolist() == [2]
    assert best_ranks(np.zeros((1, 4)), np.zeros((1, 4), dtype=bool)).tolist() == [5]


def test_recall_both_ways_by_hand():
    scores = np.array([[0.9, 0.8, 0.0], [0.7, 0.6, 0.1], [0.1, 0.2, 0.3]])
    found = {name: score.value for name, score in retrieval_scores(scores, diagonal(3)).items()}
    assert found["image_to_text_recall_at_1"] == pytest.approx(2 / 3)
    assert found["text_to_image_recall_at_1"] == pytest.approx(2 / 3)
    assert found["recall_at_1"] == pytest.approx(2 / 3)
    assert found["recall_at_5"] == found["text_to_image_recall_at_10"] == 1.0
    assert found["image_to_text_median_rank"] == found["text_to_image_median_rank"] == 1.0


def test_the_mean_of_both_ways_holds_for_uneven_counts():
    """Two pictures with three captions: 1 of 2 pictures and 1 of 3 texts are found."""
    pairs = np.array([[0, 0], [0, 1], [1, 2]])
    scores = np.array([[0.9, 0.1, 0.8], [0.5, 0.6, 0.4]])
    found = retrieval_scores(scores, pairs)
    assert found["image_to_text_recall_at_1"].value == 0.5
    assert found["text_to_image_recall_at_1"].value == pytest.approx(1 / 3)
    assert found["recall_at_1"].value == pytest.approx((0.5 + 1 / 3) / 2)
    assert measure_all(found)["recall_at_1"].n == 3


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 6), st.integers(2, 6), st.integers(0, 99))
def test_the_mean_of_both_ways_is_the_mean(items, texts, seed):
    random = np.random.default_rng(seed)
    pairs = np.unique(random.integers((items, texts), size=(items * texts, 2)), axis=0)
    pairs = np.stack([np.unique(column, return_inverse=True)[1] for column in pairs.T], axis=1)
    scores = random.normal(size=(pairs[:, 0].max() + 1, pairs[:, 1].max() + 1))
    found = {name: score.value for name, score in retrieval_scores(scores, pairs, "audio").items()}
    for k in (1, 5, 10):
        both = (found[f"audio_to_text_recall_at_{k}"] + found[f"text_to_audio_recall_at_{k}"]) / 2
        assert found[f"recall_at_{k}"] == pytest.approx(both)


def test_a_collapsed_model_finds_nothing():
    same = np.ones((20, 4))
    found = retrieval_scores(cosine_scores(same, same), diagonal(20))
    assert found["recall_at_1"].value == found["recall_at_10"].value == 0.0
    assert found["image_to_text_median_rank"].value == 20


def test_cosine_scores_ignore_length_and_survive_zeros_and_nan():
    scores = cosine_scores(np.array([[3.0, 0.0], [0.0, 0.0], [np.nan, 1.0]]), np.array([[2.0, 0.0], [0.0, 5.0]]))
    np.testing.assert_array_equal(scores, [[1.0, 0.0], [0.0, 0.0], [-np.inf, -np.inf]])


def test_zero_shot_by_hand():
    items = np.array([[1.0, 0.1], [0.2, 1.0], [1.0, 1.0]], dtype=np.float32)
    classes = np.eye(2, dtype=np.float32)
    assert zero_shot_hits(items, classes, np.array([0, 0, 1])).tolist() == [True, False, False]
