"""Bootstrap intervals against hand-made cases, a plain loop and the normal approximation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penjing.errors import DataError
from penjing.evaluate import interval
from penjing.evaluate.interval import (
    ItemScores,
    bootstrap,
    differences,
    exp_ratio,
    measure_all,
    median,
    paired_difference,
    ratio_of_sums,
)

pytestmark = pytest.mark.shop


def scores(numerator, denominator, name="wer", statistic=ratio_of_sums):
    return ItemScores(name, np.array(numerator, dtype=float), np.array(denominator, dtype=float), statistic)


def test_ratio_is_of_sums_not_a_mean_of_ratios():
    assert scores([1, 0], [1, 9]).value == pytest.approx(0.1)


def test_ratio_with_nothing_below_counts_what_is_above():
    assert scores([0, 0], [0, 0]).value == 0.0
    assert scores([2, 0], [0, 0]).value == 2.0


def test_statistics_work_on_the_last_axis():
    numerator, denominator = np.array([[1.0, 3.0], [2.0, 2.0]]), np.array([[2.0, 2.0], [4.0, 4.0]])
    np.testing.assert_allclose(ratio_of_sums(numerator, denominator), [1.0, 0.5])
    np.testing.assert_allclose(exp_ratio(numerator, denominator), np.exp([1.0, 0.5]))
    np.testing.assert_allclose(median(numerator, denominator), [2.0, 2.0])


def test_perplexity_of_a_uniform_guess_is_the_number_of_choices():
    assert scores([np.log(50) * 7, np.log(50) * 3], [7, 3], "perplexity", exp_ratio).value == pytest.approx(50)


def test_perplexity_of_a_ruined_model_is_infinite_without_a_warning():
    assert bootstrap(scores([1e5, 1e5], [1, 1], "perplexity", exp_ratio)).value == np.inf


def test_interval_agrees_with_a_plain_loop():
    item_scores = scores([0, 1, 2, 0, 3], [5, 5, 8, 4, 9])
    measured = bootstrap(item_scores, seed=3, resamples=400)
    picks = np.random.default_rng(3).integers(5, size=(400, 5))
    draws = [sum(item_scores.numerator[i] for i in row) / sum(item_scores.denominator[i] for i in row) for row in picks]
    assert measured.low == pytest.approx(np.quantile(draws, 0.025))
    assert measured.high == pytest.approx(np.quantile(draws, 0.975))


def test_interval_of_an_accuracy_is_near_the_normal_approximation():
    hits = np.arange(400) % 4 != 0
    measured = bootstrap(ItemScores.mean_of("accuracy", hits))
    half = 1.96 * np.sqrt(0.75 * 0.25 / 400)
    assert measured.value == 0.75
    assert measured.n == 400
    assert measured.low == pytest.approx(0.75 - half, abs=0.006)
    assert measured.high == pytest.approx(0.75 + half, abs=0.006)


def test_same_seed_same_interval_and_pieces_do_not_matter(monkeypatch):
    item_scores = scores(range(30), [50] * 30)
    first = bootstrap(item_scores, seed=1)
    assert bootstrap(item_scores, seed=1) == first
    assert bootstrap(item_scores, seed=2) != first
    monkeypatch.setattr(interval, "CHUNK_ITEMS", 90)
    assert bootstrap(item_scores, seed=1) == first


def test_paired_interval_is_narrower_than_the_two_alone():
    errors = np.arange(100) % 7
    source = scores(errors, [10] * 100)
    result = scores(errors + (np.arange(100) % 20 == 0), [10] * 100)
    change = paired_difference(source, result)
    alone = bootstrap(source)
    assert change.value == pytest.approx(0.005)
    assert change.low >= 0
    assert change.high - change.low < 0.2 * (alone.high - alone.low)


def test_nothing_changed_is_exactly_zero():
    source = scores([1, 2, 3], [4, 5, 6])
    change = paired_difference(source, source)
    assert (change.value, change.low, change.high, change.n) == (0.0, 0.0, 0.0, 3)


def test_paired_scores_must_be_of_the_same_items():
    with pytest.raises(ValueError, match="not scores of the same items"):
        paired_difference(scores([1], [1]), scores([1, 1], [1, 1]))
    with pytest.raises(ValueError, match="not scores of the same items"):
        paired_difference(scores([1], [1]), scores([1], [1], name="cer"))


def test_no_items_is_bad_data():
    with pytest.raises(DataError, match="nothing to judge wer by"):
        bootstrap(scores([], []))


def test_all_metrics_of_a_task_are_measured_and_compared():
    source = {"wer": scores([0, 1], [2, 2]), "cer": scores([0, 1], [9, 9], "cer")}
    result = {"wer": scores([1, 1], [2, 2])}
    assert {name: metric.value for name, metric in measure_all(source).items()} == {
        "wer": 0.25,
        "cer": pytest.approx(1 / 18),
    }
    assert {name: metric.value for name, metric in differences(source, result).items()} == {"wer": 0.25}


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 9)), min_size=1, max_size=12))
def test_interval_lies_within_what_single_items_can_give(items):
    measured = bootstrap(scores(*zip(*items, strict=True)), resamples=50)
    single = [above / below for above, below in items]
    assert min(single) - 1e-12 <= measured.low <= measured.high <= max(single) + 1e-12
