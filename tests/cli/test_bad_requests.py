"""Recipes, goals, places and options that make no sense: refused before any work, and nothing is written or lost."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

RECIPES: dict[str, tuple[str, str, str]] = {
    "unknown method": ("steps: [{method: rtm}]", "no method called 'rtm'", "did you mean 'rtn'?"),
    "unknown setting": ("steps: [{method: rtn, bit: 4}]", "method 'rtn' has no setting 'bit'", "did you mean 'bits'?"),
    "impossible setting": ("steps: [{method: rtn, bits: 5}]", "method 'rtn': bits: input should be 8", "explains"),
    "unknown key": ("stepps: []", "unknown key 'stepps'", "did you mean 'steps'?"),
    "unknown tower": (
        "steps: [{method: rtn, towers: [encodr]}]", "step rtn: no tower called 'encodr'", "did you mean 'encoder'?"
    ),
    "glob without a site": (
        "steps: [{method: rtn, sites: ['*.fc3']}]", "step rtn: no site matches '*.fc3'", "sites are named like 'model."
    ),
    "a site mistyped": (
        "steps: [{method: rtn, towers: [decoder], sites: [model.decoder.layers.0.fc11]}]",
        "no site matches 'model.decoder.layers.0.fc11'",
        "did you mean 'model.decoder.layers.0.fc1'?",
    ),
    "conflict": (
        "steps: [{method: rtn, bits: 4, towers: [encoder]}, {method: static_int8, towers: [encoder]}]",
        "4-bit codes cannot meet int8 activations",
        "change the earlier step",
    ),
    "no steps": ("seed: 1", "no steps", "write at least one"),
    "steps of no shape": ("steps: [rtn]", "step 1 names no method", "write `- {method: rtn, bits: 8}`"),
    "towers of no shape": ("steps: [{method: rtn, towers: encoder}]", "towers must be a list", "write `towers: ["),
    "bad goal": ("steps: [{method: rtn}]\ngoals: ['wer<<1']", "'wer<<1' is not a goal", "write NAME<=+0.01"),
    "bad seed": ("seed: -1\nsteps: [{method: rtn}]", "seed must be a whole number", "seed: 0"),
    "bad date": ("model: 2020-99-99\nsteps: [{method: rtn}]", "is not YAML", "look for a wrong indent"),
    "not YAML": ("steps: [", "is not YAML (line", "look for a wrong indent"),
    "code": ("model: !!python/object/apply:os.getcwd []\nsteps: []", "is not YAML", "look for"),
}  # fmt: skip
GOALS: dict[str, tuple[str, str, str]] = {
    "no such metric": ("wrr<=1", "no measure called 'wrr'", "did you mean 'wer'?"),
    "no goal": ("faster", "'faster' is not a goal", "write NAME<=+0.01"),
    "of another task": (
        "accuracy>=-0.01",
        "this task does not measure 'accuracy'",
        "measured: wer, cer, shifted/wer, shifted/cer, size_bytes",
    ),
    "of a task it has not": ("vqa/wer<=1", "this task does not measure 'vqa/wer'", "did you mean 'wer'?"),
}
OPTIONS: dict[str, tuple[list[str], str, str]] = {
    "engine": (["--engine", "openvno"], "no engine called 'openvno'", "did you mean 'openvino'?"),
    "threads": (["--threads", "0"], "0 threads cannot run anything", "--threads 1 or more"),
    "format": (["--format", "onxx"], "no format called 'onxx'", "did you mean 'onnx'?"),
    "recipe": (["--recipe", "spech"], "no recipe called 'spech'", "did you mean 'speech'?"),
    "recipe file": (["--recipe", "nowhere.yaml"], "cannot read the recipe nowhere.yaml", "give a YAML file"),
    "data": (["--data", "speach"], "called 'speach'", "did you mean 'speech'?"),
}


@pytest.fixture
def refused(whisper_folder, sound_folder, tmp_path, penjing, untouched) -> Callable[..., tuple[str, str]]:
    """Compress the tiny Whisper with further options; it must be refused and leave no trace."""

    def call(*options: object, data: bool = True) -> tuple[str, str]:
        untouched()
        given = ["--data", sound_folder] if data else []
        found = penjing("compress", whisper_folder, "-o", tmp_path / "out", *given, *options)
        untouched()
        return found.check_refused()

    return call


def check_said(said: tuple[str, str], message: str, hint: str) -> None:
    assert message in said[0]
    assert hint in said[1]


@pytest.mark.parametrize("name", RECIPES)
def test_bad_recipe(name, refused, tmp_path):
    text, message, hint = RECIPES[name]
    (tmp_path / "recipe.yaml").write_text(f"version: 1\n{text}\n")
    check_said(refused("--recipe", tmp_path / "recipe.yaml"), message, hint)


@pytest.mark.parametrize("name", GOALS)
def test_bad_goal(name, refused):
    goal, message, hint = GOALS[name]
    check_said(refused("--goal", goal), message, hint)


@pytest.mark.parametrize("name", OPTIONS)
def test_bad_option(name, refused):
    options, message, hint = OPTIONS[name]
    check_said(refused(*options, data=name != "data"), message, hint)


def test_goal_of_the_recipe_is_checked_before_the_work(refused, tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("version: 1\nsteps: [{method: rtn}]\ngoals: ['recall_at_1>=-0.01']\n")
    check_said(refused("--recipe", recipe), "goal 'recall_at_1>=-0.01': this task does not measure", "measured: wer")


@pytest.mark.parametrize("metric", ["p50_ms<=90%", "p95_ms<=90%"])
def test_speed_goal_needs_data(metric, refused):
    check_said(
        refused("--goal", metric, data=False), f"goal '{metric}' cannot be measured: items are timed", "give --data"
    )


def test_memory_goal_needs_an_engine(refused):
    check_said(
        refused("--goal", "peak_rss_bytes<=90%", "--engine", "torch"), "memory is measured of ONNX graphs", "engine"
    )


def test_goals_on_data_need_data(refused):
    said = refused("--goal", "wer<=+0.01", data=False)
    check_said(said, "goal 'wer<=+0.01' cannot be measured: it is measured on data", "give --data")


def test_statistics_need_data(refused, tmp_path_factory):
    recipe = tmp_path_factory.mktemp("recipes") / "static.yaml"
    recipe.write_text("version: 1\nsteps: [{method: static_int8}]\n")
    check_said(refused("--recipe", recipe, data=False), "static_int8 needs calibration data", "--calibration")


def test_no_graphs_for_a_model_without_a_task(tmp_path, penjing, untouched):
    from tiny_models import TINY

    model = TINY["bert_masked"](tmp_path / "bert")
    untouched()
    found = penjing("compress", model, "-o", tmp_path / "out", "--format", "onnx")
    untouched()
    check_said(found.check_refused(), "BertForMaskedLM has no ONNX route yet", "leave --format away")


def test_out_exists(refused, tmp_path):
    (tmp_path / "out").mkdir()
    check_said(refused(), "out already exists", "--overwrite")


def artifact(out: Path, files: dict[str, str]) -> None:
    """Something that looks like an artifact of ours."""
    out.mkdir()
    (out / "penjing.json").write_text(json.dumps({"format": 1, "files": files}))
    (out / "config.json").write_text("{}")


def a_file(out: Path) -> None:
    out.write_text("mine")


def a_folder(out: Path) -> None:
    out.mkdir()
    (out / "thesis.txt").write_text("years of work")


def a_damaged_manifest(out: Path) -> None:
    artifact(out, {})
    (out / "penjing.json").write_text("{")


def an_artifact_and_more(out: Path) -> None:
    artifact(out, {"config.json": "0"})
    (out / "notes").mkdir()
    (out / "notes" / "thesis.txt").write_text("years of work")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (a_file, "is not an artifact, so it is not overwritten"),
        (a_folder, "is not an artifact, so it is not overwritten"),
        (a_damaged_manifest, "is not an artifact, so it is not overwritten"),
        (an_artifact_and_more, "holds notes/thesis.txt, which penjing did not write, so it is not overwritten"),
    ],
)
def test_overwrite_deletes_nothing_but_artifacts(make, message, refused, tmp_path):
    make(tmp_path / "out")
    check_said(refused("--overwrite"), message, "give another -o")


@pytest.mark.parametrize("place", ["/proc/nowhere/out", "/sys/out"])
def test_out_not_writable(place, whisper_folder, penjing):
    found = penjing("compress", whisper_folder, "-o", place)
    check_said(found.check_refused(), f"cannot write {place}: ", "give an -o you may write")


def test_out_below_a_file(whisper_folder, tmp_path, penjing, untouched):
    a_file(tmp_path / "file")
    untouched()
    found = penjing("compress", whisper_folder, "-o", tmp_path / "file" / "out")
    untouched()
    check_said(found.check_refused(), "cannot write", "give an -o you may write")
