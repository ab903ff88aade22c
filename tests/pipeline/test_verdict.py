"""What the gate says: goals, reasons, and the numbers behind them."""

from __future__ import annotations

import math

import pytest

from penjing.evaluate.goals import parse_goals
from penjing.methods import make
from penjing.pipeline.gate import hold
from penjing.pipeline.measure import Comparison
from penjing.pipeline.steps import StepDone
from penjing.pipeline.write import finite
from penjing.recipe import Step
from penjing.values import Measures, Metric, Note


def measures(wer: float, size_bytes: int, p50_ms: float | None = None) -> Measures:
    metrics = {"wer": Metric(wer, wer - 0.05, wer + 0.05, 60)}
    return Measures("onnxruntime", 1, size_bytes, p50_ms=p50_ms, metrics=metrics)


def step(*notes: Note) -> StepDone:
    return StepDone(Step(make("rtn", {})), notes, 1.0)


CHANGED = Note("model.fc1", "rtn", "encoder", 8.0, 0.01)
SCALED = Note("model.fc1", "smoothquant", "encoder", 32.0)
LEFT = Note("model.fc2", "rtn", "encoder", 32.0, skipped="too small")


def test_all_goals_met():
    verdict = hold(parse_goals(["wer<=+0.01", "size_bytes<=30%"]), comparison(0.105, 30), [step(CHANGED, LEFT)])
    assert verdict.published
    assert verdict.reasons() == []
    assert verdict.as_json()["published"] is True


def comparison(wer: float, size_bytes: int, p50_ms: float | None = None) -> Comparison:
    return Comparison(measures(0.1, 100, 10.0), measures(wer, size_bytes, p50_ms))


def test_every_goal_that_failed_is_named_with_its_numbers():
    goals = parse_goals(["wer<=+0.01", "size_bytes<=30%", "p50_ms<=50%"])
    verdict = hold(goals, comparison(0.125, 31, 6.0), [step(CHANGED)])
    assert not verdict.published
    assert verdict.reasons() == [
        "wer<=+0.01 is 0.125, limit 0.11",
        "size_bytes<=30% is 31, limit 30",
        "p50_ms<=50% is 6, limit 5",
    ]


def test_what_was_not_measured_is_not_met():
    verdict = hold(parse_goals(["p50_ms<=50%"]), comparison(0.1, 30), [step(CHANGED)])
    assert verdict.reasons() == ["p50_ms<=50%: not measured for the result"]


@pytest.mark.parametrize(
    ("steps", "reason"),
    [
        ([], "nothing was changed: no step found a site"),
        ([step()], "nothing was changed: no step found a site"),
        ([step(LEFT), step(LEFT)], "nothing was changed: too small"),
        ([step(SCALED)], "nothing was changed: smoothquant alone stores nothing in fewer bits"),
    ],
)
def test_changing_nothing_is_a_reason(steps, reason):
    verdict = hold(parse_goals(["wer<=+0.01"]), comparison(0.1, 30), steps)
    assert not verdict.published
    assert verdict.reasons() == [reason]
    assert verdict.as_json()["problems"] == [reason]


def test_what_only_learned_is_another_model_unless_nothing_was_learned():
    def taught(learned: bool) -> StepDone:
        note = Note("model.fc1", "distill", "encoder", 32.0, learned=learned)
        return StepDone(Step(make("distill", {})), (note,), 1.0)

    assert hold(parse_goals(["wer<=+0.01"]), comparison(0.08, 100), [taught(True)]).published
    assert hold(parse_goals(["wer<=+0.01"]), comparison(0.1, 100), [taught(False)]).reasons() == [
        "nothing was changed: distill found nothing better than what was there"
    ]


def test_numbers_that_json_cannot_say_become_null():
    document = {"value": math.nan, "list": [1.5, math.inf, ("a", -math.inf)], "count": 3}
    assert finite(document) == {"value": None, "list": [1.5, None, ["a", None]], "count": 3}
