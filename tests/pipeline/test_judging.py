"""The gate under shift, slice by slice and engine by engine, on runners whose faults are known."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from penjing.data.row import Row
from penjing.data.split import Parts
from penjing.errors import EngineError
from penjing.evaluate.goals import parse_goals
from penjing.evaluate.interval import ItemScores, differences, measure_all
from penjing.evaluate.tolerance import shift_goals, tolerances
from penjing.judge.quality import check_answers
from penjing.judge.shift import shift_test_rows
from penjing.methods import make
from penjing.pipeline.engines import EngineResult, engine_result, judge_engines
from penjing.pipeline.gate import hold
from penjing.pipeline.judging import Judgement, JudgingPlan, judge_runners
from penjing.pipeline.material import Material, RangeRows
from penjing.pipeline.measure import Comparison
from penjing.pipeline.provenance import seen_rows, shared_warnings
from penjing.pipeline.steps import StepDone
from penjing.pipeline.write import engine_warnings, slice_warnings
from penjing.recipe import Step, parse_recipe
from penjing.runtimes.engine import Engine
from penjing.values import Measures, Note, silent

GOALS = parse_goals(["accuracy>=-0.01"])
COUNT = 64


class Classifier:
    """Says which half of an image is brighter; outside of the mean levels `sees` it says the other one."""

    task = "classifier"
    labels = ("left", "right")

    def __init__(self, sees: tuple[float, float] = (0, 255), wrong: frozenset[str] = frozenset()) -> None:
        self.sees, self.wrong = sees, wrong

    def classify_row(self, row: Row):
        pixels = np.asarray(Image.open(row.file).convert("L"), np.float32)
        width = pixels.shape[1] // 2
        right = pixels[:, width:].mean() > pixels[:, :width].mean()
        if not self.sees[0] <= pixels.mean() <= self.sees[1] or row.id in self.wrong:
            right = not right
        return type("Answer", (), {"label": self.labels[int(right)]})


@pytest.fixture
def rows(tmp_path) -> list[Row]:
    found = []
    for number in range(COUNT):
        pixels = np.full((40, 40, 3), 90, np.uint8)
        label = Classifier.labels[number % 2]
        pixels[:, slice(20, 40) if number % 2 else slice(0, 20)] = 150
        pixels[number % 40, :, :] = 120
        path = tmp_path / f"{number:02}.png"
        Image.fromarray(pixels).save(path)
        found.append(Row(path.name, {"label": label, "source": "a" if number < 54 else "b"}, "image", path))
    return found


def judged(rows, result: Classifier, tmp_path) -> Judgement:
    check_answers("classifier", rows, Classifier.labels)
    shifted = shift_test_rows("classifier", rows, 0, tmp_path / "shifted")
    plan = JudgingPlan(rows, shifted, 0, tolerances(GOALS))
    return judge_runners({"source": Classifier(), "result": result}, plan, 1, silent)


def verdict(judgement: Judgement):
    measures = [Measures("x", 1, metrics=measure_all(judgement.scores[name])) for name in ("source", "result")]
    changes = differences(judgement.scores["source"], judgement.scores["result"])
    done = StepDone(Step(make("rtn", {})), (Note("a", "rtn", "t", 8.0),), 0.0)
    goals = (*GOALS, *shift_goals(GOALS))
    return hold(goals, Comparison(*measures, changes, judgement=judgement), [done])


def test_a_model_that_is_as_good_under_shift_passes(rows, tmp_path):
    judgement = judged(rows, Classifier(), tmp_path)
    assert judgement.shift.rows + len(judgement.shift.left_out) == COUNT
    assert verdict(judgement).published


def test_a_model_that_fails_on_dark_and_bright_images_alone_is_refused(rows, tmp_path):
    judgement = judged(rows, Classifier(sees=(70, 180)), tmp_path)
    assert judgement.scores["result"]["accuracy"].value == 1.0  # clean rows show nothing
    reasons = verdict(judgement).reasons()
    assert len(reasons) == 1
    assert reasons[0].startswith("shifted/accuracy>=-0.02")
    lost = {kind.value for kind in judgement.shift.kinds if kind.loss > 0}
    assert lost == {"dark", "bright"}


def test_a_slice_that_is_ruined_is_refused(rows, tmp_path):
    ruined = frozenset(row.id for row in rows if row.fields["source"] == "b")
    judgement = judged(rows, Classifier(wrong=ruined), tmp_path)
    assert {slice_.value: slice_.refused for slice_ in judgement.slices if slice_.column == "source"} == {
        "a": False, "b": True,
    }  # fmt: skip
    assert any(reason.startswith("source b: accuracy 1 → 0 on 10 items") for reason in verdict(judgement).reasons())


def test_without_shift_nothing_is_shifted(rows):
    plan = JudgingPlan(rows, None, 0, tolerances(GOALS))
    judgement = judge_runners({"source": Classifier(), "result": Classifier(sees=(70, 180))}, plan, 1, silent)
    assert judgement.shift is None
    assert [*judgement.scores["result"]] == ["accuracy"]


def scores(hits: list[float]) -> dict[str, ItemScores]:
    return {"accuracy": ItemScores.mean_of("accuracy", hits)}


def test_an_engine_in_which_a_goal_fails_is_not_claimed():
    source, good, bad = scores([1.0] * 100), scores([1.0] * 100), scores([1.0] * 90 + [0.0] * 10)
    found = engine_result("onnxruntime", GOALS, source, bad, good)
    assert not found.claimed
    assert found.reasons == ("accuracy>=-0.01 is 0.9, limit 0.99",)
    assert found.differences == ("accuracy 0.9 in onnxruntime, 1 in the engine of the run",)
    assert engine_result("openvino", GOALS, source, good, good).claimed


def test_every_engine_is_judged_and_one_that_cannot_run_is_not_claimed():
    def scores_in(engine: Engine) -> dict[str, ItemScores]:
        if engine.name == "openvino":
            raise EngineError("cannot open model.onnx")
        return scores([1.0] * 10)

    engines = [Engine(name, 1) for name in ("onnxruntime", "openvino")]
    judgement = Judgement({"source": scores([1.0] * 10), "result": scores([1.0] * 10)})
    found = judge_engines(engines, GOALS, judgement, scores_in)
    assert [(result.engine, result.claimed) for result in found] == [("onnxruntime", True), ("openvino", False)]
    assert engine_warnings(found) == ["openvino is not claimed: cannot open model.onnx"]


def test_what_was_left_out_is_said():
    judgement = Judgement({}, small_slices=tuple(f"speaker {n}" for n in range(10)))
    (line,) = slice_warnings(judgement)
    assert line.endswith("speaker 7 and 2 more")
    assert engine_warnings([EngineResult("x", True, differences=("wer 1 in x",))]) == ["engines differ: wer 1 in x"]


def test_what_calibration_and_test_share_is_warned_of():
    one = [Row("a", {"speaker": "joe", "source": "synthetic"})]
    other = [Row("b", {"speaker": "ann", "source": "people"})]
    (warning,) = shared_warnings(one, [*one, *other])
    assert "share the speaker joe and the source synthetic" in warning
    assert shared_warnings(one, other) == []


@pytest.mark.parametrize(
    ("steps", "seen"),
    [
        ("{method: rtn}", "s"),
        ("{method: gptq}", "cs"),
        ("{method: dynamic_int8}", "vs"),
        ("{method: dynamic_int8}, {method: gptq}", "cvs"),
        ("{method: static_int8}", "cbvs"),
    ],
)
def test_rows_that_steps_have_seen(steps, seen):
    """Calibration and validation part of the user's data, built-in rows to calibrate and to validate on."""
    rows = {name: Row(name, {}) for name in "cbvsj"}
    job: Any = SimpleNamespace(parts=Parts((rows["c"],), (rows["s"],), (rows["j"],)))
    recipe = parse_recipe(f"{{version: 1, steps: [{steps}]}}", "mine")
    calibrating = (rows["c"], rows["b"]) if "static" in steps else ()
    material = Material(calibrating, (rows["v"],), {})
    ranges = RangeRows(material, "text", 0, Path("unused")) if "int8" in steps else None
    assert "".join(row.id for row in seen_rows(job, recipe, ranges)) == seen
