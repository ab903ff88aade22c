"""Cosine and divergence against hand-computed values, and where outputs are broken."""

from __future__ import annotations

import numpy as np
import pytest

from penjing.evaluate.similarity import cosine, log_softmax, logit_kl

pytestmark = pytest.mark.shop


def test_cosine_by_hand_with_axes_flattened():
    source = np.array([[[1.0, 0.0], [0.0, 0.0]], [[1.0, 1.0], [1.0, 1.0]]])
    result = np.array([[[1.0, 0.0], [0.0, 1.0]], [[2.0, 2.0], [2.0, 2.0]]])
    found = cosine(source, result)
    np.testing.assert_allclose(found.numerator, [np.sqrt(0.5), 1.0])
    assert found.value == pytest.approx((np.sqrt(0.5) + 1) / 2)


def test_items_may_have_different_shapes():
    assert cosine([np.ones(3), np.ones((2, 5))], [np.ones(3), -np.ones((2, 5))]).numerator == pytest.approx([1.0, -1.0])


@pytest.mark.parametrize(
    ("source", "result", "expected"),
    [
        ([0.0, 0.0], [0.0, 0.0], 1.0),
        ([1.0, 0.0], [0.0, 0.0], 0.0),
        ([1.0, 2.0], [np.nan, 2.0], -1.0),
        ([1.0], [np.inf], -1.0),
    ],
)
def test_cosine_of_zeros_and_broken_outputs(source, result, expected):
    assert cosine([np.array(source)], [np.array(result)]).value == expected


def test_cosine_of_long_float32_outputs_is_summed_in_float64():
    array = np.full(2_000_000, 1e-4, dtype=np.float32)
    assert cosine([array], [array]).value == pytest.approx(1.0, abs=1e-12)


def test_divergence_by_hand():
    source, result = np.log(np.array([[0.5, 0.5]])), np.log(np.array([[0.9, 0.1]]))
    expected = 0.5 * np.log(0.5 / 0.9) + 0.5 * np.log(0.5 / 0.1)
    assert logit_kl(source, result).value == pytest.approx(expected)
    assert logit_kl(result, source).value != pytest.approx(expected)


def test_divergence_ignores_a_shift_and_averages_positions():
    logits = np.random.default_rng(0).normal(size=(2, 3, 7))
    assert logit_kl(logits, logits + 100).value == pytest.approx(0.0, abs=1e-12)
    other = logits + np.random.default_rng(1).normal(size=logits.shape)
    whole = logit_kl(logits, other).numerator
    by_position = logit_kl(logits.reshape(6, 7), other.reshape(6, 7)).numerator.reshape(2, 3)
    np.testing.assert_allclose(whole, by_position.mean(axis=1))


def test_softmax_and_divergence_do_not_overflow():
    np.testing.assert_allclose(log_softmax(np.array([1e4, 0.0])), [0.0, -1e4])
    assert logit_kl([np.array([1e4, 0.0])], [np.array([0.0, 0.0])]).value == pytest.approx(np.log(2))
    assert logit_kl([np.array([1.0, 0.0])], [np.array([np.nan, 0.0])]).value == np.inf


def test_different_shapes_are_a_bug_not_a_broadcast():
    with pytest.raises(ValueError, match="cannot be compared"):
        cosine([np.ones((2, 1))], [np.ones((2, 3))])
    with pytest.raises(ValueError, match="cannot be compared"):
        logit_kl([np.ones((1, 3))], [np.ones((2, 3))])
