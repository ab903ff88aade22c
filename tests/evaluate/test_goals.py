"""Goals: read, held against measures, refused; the gate must fire on what is ruined or was never measured."""

from __future__ import annotations

import json
import math

import pytest

from penjing.errors import RecipeError
from penjing.evaluate.catalogue import KINDS, find_kind, metric_kind
from penjing.evaluate.goals import Goal, default_goals, measured_value, parse_goals
from penjing.values import Measures, Metric

pytestmark = pytest.mark.shop


def measures(size_bytes: int | None = 100, p50_ms: float | None = 10.0, **metrics: float) -> Measures:
    found = {name.replace("__", "/"): Metric(value, value - 0.02, value + 0.02, 60) for name, value in metrics.items()}
    return Measures("onnxruntime", 2, size_bytes=size_bytes, p50_ms=p50_ms, metrics=found)


@pytest.mark.parametrize(
    ("text", "source", "limit"),
    [
        ("wer<=+0.01", 0.05, 0.06),
        ("accuracy>=-0.01", 0.8, 0.79),
        ("perplexity<=+2%", 10.0, 10.2),
        ("p50_ms<=-10%", 50.0, 45.0),
        ("size_bytes<=30%", 1000.0, 300.0),
        ("size_bytes < 100%", 1000.0, 1000.0),
        ("wer<=0.1", 0.05, 0.1),
        (" logit_kl <= 1e-3 ", 0.0, 0.001),
        ("vqa/accuracy>=-0.01", 0.5, 0.49),
        ("image_to_text_recall_at_1>=-0.01", 0.5, 0.49),
    ],
)
def test_limits(text, source, limit):
    assert Goal.parse(text).limit(source) == pytest.approx(limit)


@pytest.mark.parametrize(
    "text", ["", "wer", "wer<=", "wer==1", "wer=<1", "wer<=abc", "wer<=nan", "wer<=1.2.3", "wer<=+-1", "<=1"]
)
def test_what_is_no_goal_is_refused_with_the_forms(text):
    with pytest.raises(RecipeError, match="is not a goal") as caught:
        Goal.parse(text)
    assert "NAME<=30%" in caught.value.hint


def test_a_mistyped_name_is_refused_with_the_nearest():
    with pytest.raises(RecipeError, match="no measure called 'accuraty'") as caught:
        parse_goals(["wer<=1", "vqa/accuraty>=0.5"])
    assert caught.value.hint == "did you mean 'accuracy'?"


@pytest.mark.parametrize(
    ("text", "value", "met"),
    [
        ("wer<=+0.01", 0.06, True),
        ("wer<+0.01", 0.06, False),
        ("wer<=+0.01", 0.0601, False),
        ("wer<=0.06", 0.06, True),
        ("wer<0.06", 0.06, False),
        ("wer<=50%", 0.02, True),
        ("wer<=-20%", 0.041, False),
        ("wer<=+0.01", math.nan, False),
        ("wer<=+0.01", math.inf, False),
    ],
)
def test_the_point_estimate_decides(text, value, met):
    found = Goal.parse(text).check(measures(wer=0.05), measures(wer=value))
    assert found.met is met
    json.dumps(found.as_json(), allow_nan=False)


def test_a_source_that_is_ruined_proves_nothing():
    found = Goal.parse("perplexity<=+2%").check(measures(perplexity=math.inf), measures(perplexity=5.0))
    assert (found.met, found.note) == (False, "not a finite number")


def test_equal_size_is_not_smaller():
    goal = Goal.parse("size_bytes<100%")
    assert not goal.check(measures(100), measures(100)).met
    assert goal.check(measures(100), measures(99)).met


@pytest.mark.parametrize(("source", "result", "side"), [(None, 9.0, "source"), (9.0, None, "result")])
def test_what_was_not_measured_is_not_met(source, result, side):
    found = Goal.parse("p50_ms<=50%").check(measures(p50_ms=source), measures(p50_ms=result))
    assert (found.met, found.note) == (False, f"not measured for the {side}")
    assert found.as_json()["value"] == result


def test_an_absolute_goal_needs_no_source():
    assert Goal.parse("p50_ms<=20").check(measures(p50_ms=None), measures(p50_ms=9.0)).met


def test_a_metric_the_task_lacks_names_those_it_has():
    with pytest.raises(RecipeError, match="does not measure 'accuracy'") as caught:
        Goal.parse("accuracy>=-0.01").check(measures(wer=0.1), measures(wer=0.1))
    assert "wer, size_bytes" in caught.value.hint
    Goal.parse("p50_ms<=10").require([])


def test_an_interval_that_straddles_the_limit_is_not_proven():
    goal, source, result = Goal.parse("wer<=+0.01"), measures(wer=0.05), measures(wer=0.055)
    wide, narrow = Metric(0.005, -0.01, 0.02, 60), Metric(0.005, 0.004, 0.006, 60)
    assert goal.check(source, result, {"wer": wide}).note == "not proven at n=60"
    assert goal.check(source, result, {"wer": wide}).met
    assert goal.check(source, result, {"wer": narrow}).note == ""
    assert goal.check(source, result).note == ""


def test_an_absolute_goal_is_doubted_by_the_results_own_interval():
    assert Goal.parse("wer<=0.06").check(measures(wer=0.05), measures(wer=0.05)).note == "not proven at n=60"
    assert Goal.parse("wer<=0.09").check(measures(wer=0.05), measures(wer=0.05)).note == ""


def test_a_goal_that_points_the_wrong_way_says_so():
    found = Goal.parse("accuracy<=+0.01").check(measures(accuracy=0.9), measures(accuracy=0.1))
    assert found.met
    assert found.note == "accuracy is better when higher: this goal protects nothing"


def test_json_has_the_agreed_names():
    found = Goal.parse("vqa/accuracy>=-0.01").check(measures(vqa__accuracy=0.8), measures(vqa__accuracy=0.7)).as_json()
    assert list(found) == ["goal", "metric", "source", "value", "limit", "met", "note", "worst"]
    assert found["met"] is False
    assert found["goal"] == "vqa/accuracy>=-0.01"


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["wer", "cer"], ["wer<=+0.01", "size_bytes<100%"]),
        (["recall_at_1", "recall_at_5", "image_to_text_recall_at_1"], ["recall_at_1>=-0.01", "size_bytes<100%"]),
        (["accuracy"], ["accuracy>=-0.01", "size_bytes<100%"]),
        (["perplexity", "cosine"], ["perplexity<=+2%", "size_bytes<100%"]),
        (["cosine", "logit_kl"], ["cosine>=0.99", "size_bytes<100%"]),
        (["vqa/accuracy", "caption/bleu"], ["vqa/accuracy>=-0.01", "caption/bleu>=-1", "size_bytes<100%"]),
        ([], ["size_bytes<100%"]),
    ],
)
def test_default_goals(names, expected):
    assert [goal.text for goal in default_goals(names)] == expected


def test_every_default_allowance_is_a_goal_that_points_the_right_way():
    for name, kind in KINDS.items():
        if kind.allowance:
            goal = Goal.parse(name + kind.allowance)
            assert goal.operator.startswith(">") == kind.higher_is_better


def test_looking_up_names():
    assert metric_kind("vqa/accuracy").higher_is_better
    assert find_kind("beauty") is None
    assert measured_value(measures(wer=0.5), "wer") == 0.5
    assert measured_value(measures(), "wer") is None
    assert measured_value(measures(), "size_bytes") == 100


def test_the_worst_part_is_named_where_a_goal_is_missed():
    """Of `cosine` over all parts, where each part was measured too."""
    values = {"cosine": 0.4, "encoder_model/cosine": 0.999, "decoder_with_past_model/cosine": 0.4}
    result = Measures("onnxruntime", 1, 30, metrics={name: Metric(v, v, v, 4) for name, v in values.items()})
    checked = Goal.parse("cosine>=0.99").check(Measures("onnxruntime", 1, 100), result)
    assert checked.shortfall == "cosine>=0.99 is 0.4, limit 0.99 (decoder_with_past_model)"
    assert checked.as_json()["worst"] == "decoder_with_past_model"
    shifted = {"accuracy": Metric(0.5, 0.5, 0.5, 4), "shifted/accuracy": Metric(0.4, 0.4, 0.4, 4)}
    missed = Goal.parse("accuracy>=0.9").check(
        Measures("onnxruntime", 1, 100), Measures("onnxruntime", 1, 30, metrics=shifted)
    )
    assert missed.shortfall == "accuracy>=0.9 is 0.5, limit 0.9"
    part = Goal.parse("encoder_model/cosine>=0.99").check(Measures("onnxruntime", 1, 100), result)
    assert (part.met, part.worst) == (True, "")


def test_a_goal_on_the_checkpoint_compares_with_its_bytes_on_disk():
    source = Measures("onnxruntime", 2, size_bytes=400, checkpoint_bytes=200)
    result = Measures("onnxruntime", 2, size_bytes=110, checkpoint_bytes=110)
    assert Goal.parse("size_bytes<=30%").check(source, result).met
    missed = Goal.parse("checkpoint_bytes<=50%").check(source, result)
    assert (missed.met, missed.limit, missed.value) == (False, 100.0, 110)
    assert Goal.parse("checkpoint_bytes<=60%").check(source, result).met
