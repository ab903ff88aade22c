"""What goals allow to be lost, and the goals on shifted rows that follow from them."""

from __future__ import annotations

import pytest

from penjing.evaluate.goals import Goal, parse_goals
from penjing.evaluate.tolerance import loss, shift_goals, tolerance_of, tolerances
from penjing.values import Measures, Metric

pytestmark = pytest.mark.shop


@pytest.mark.parametrize(
    ("goal", "amount", "relative"),
    [
        ("wer<=+0.01", 0.01, False),
        ("accuracy>=-0.02", 0.02, False),
        ("vqa/accuracy>=-0.01", 0.01, False),
        ("perplexity<=+2%", 0.02, True),
        ("accuracy>=98%", 0.02, True),
        ("wer<=110%", 0.10, True),
        ("bleu>=-1", 1.0, False),
        ("cosine>=0.99", 0.01, False),
    ],
)
def test_a_goal_allows_a_loss(goal, amount, relative):
    found = tolerance_of(Goal.parse(goal))
    assert found is not None
    assert (found.amount, found.relative) == (pytest.approx(amount), relative)


@pytest.mark.parametrize(
    "goal",
    ["size_bytes<=30%", "p50_ms<=50%", "wer<=0.1", "wer>=-0.01", "accuracy<=+0.1", "cer<=+0.01", "shifted/wer<=+0.02"],
)
def test_goals_that_set_no_limit_on_a_loss_have_no_tolerance(goal):
    assert tolerance_of(Goal.parse(goal)) is None


def test_a_result_that_must_be_better_may_lose_nothing():
    assert tolerances(parse_goals(["wer<=-0.01", "accuracy>=+0.02"])) == (
        tolerance_of(Goal.parse("wer<=+0")),
        tolerance_of(Goal.parse("accuracy>=-0")),
    )


def test_a_relative_tolerance_is_a_share_of_the_source():
    assert tolerance_of(Goal.parse("perplexity<=+2%")).absolute(50.0) == pytest.approx(1.0)
    assert tolerance_of(Goal.parse("wer<=+0.01")).absolute(0.5) == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("goal", "under_shift"),
    [
        ("wer<=+0.01", "shifted/wer<=+0.02"),
        ("recall_at_1>=-0.01", "shifted/recall_at_1>=-0.02"),
        ("spoken_vqa/accuracy>=-0.02", "shifted/spoken_vqa/accuracy>=-0.04"),
        ("perplexity<=+2%", "shifted/perplexity<=+4%"),
        ("accuracy>=98%", "shifted/accuracy>=-4%"),
        ("cosine>=0.99", "shifted/cosine>=0.98"),
    ],
)
def test_twice_as_much_may_be_lost_under_shift(goal, under_shift):
    assert [found.text for found in shift_goals(parse_goals([goal, "size_bytes<100%"]))] == [under_shift]


def test_an_explicit_goal_on_shifted_rows_stands():
    assert shift_goals(parse_goals(["wer<=+0.01", "shifted/wer<=+0.5"])) == ()


def test_the_goal_compares_shifted_with_shifted():
    goal = Goal.parse("shifted/wer<=+0.02")
    before = Measures("x", 1, metrics={"wer": Metric(0.05, 0, 1, 9), "shifted/wer": Metric(0.30, 0, 1, 9)})
    after = Measures("x", 1, metrics={"wer": Metric(0.05, 0, 1, 9), "shifted/wer": Metric(0.33, 0, 1, 9)})
    found = goal.check(before, after)
    assert not found.met
    assert found.limit == pytest.approx(0.32)
    assert goal.check(before, before).met


def test_a_loss_is_positive_where_the_result_is_worse():
    assert loss("wer", 0.10, 0.15) == pytest.approx(0.05)
    assert loss("vqa/accuracy", 0.90, 0.85) == pytest.approx(0.05)
    assert loss("accuracy", 0.85, 0.90) == pytest.approx(-0.05)
