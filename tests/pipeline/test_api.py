"""The public functions: what a program calls instead of the command line."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

import penjing
from penjing.cli import commands
from penjing.errors import DataError, GoalNotMet, RecipeError
from penjing.evaluate.goals import Goal
from penjing.pipeline.compress import rows_key
from penjing.pipeline.job import Options, plan_job
from penjing.pipeline.machine import cpu_name, describe_machine
from tiny_models import TINY

RENAMED = {"goal": "goals", "format": "formats"}


def test_all_names_are_there():
    assert set(penjing.__all__) == {"__version__", "compress", "evaluate", "inspect", "load"}
    assert all(hasattr(penjing, name) for name in penjing.__all__)


def test_the_room_does_not_take_the_name_of_the_function():
    assert Goal.__module__ == "penjing.evaluate.goals"
    assert inspect.isfunction(penjing.evaluate)


OF_MODULES = ("batches", "metric")
"""What only modules in memory are compressed with."""


@pytest.mark.parametrize("name", ["inspect", "compress", "evaluate"])
def test_functions_take_what_commands_take(name):
    asked = set(inspect.signature(getattr(commands, name)).parameters) - {"json", "debug"}
    taken = set(inspect.signature(getattr(penjing, name)).parameters) - {"tell", *OF_MODULES}
    assert {RENAMED.get(option, option) for option in asked} == taken


def test_a_refusal_carries_the_document(tmp_path):
    model = TINY["bert_masked"](tmp_path / "bert")
    with pytest.raises(GoalNotMet) as refused:
        penjing.compress(model, tmp_path / "out", recipe="weights", goals=["size_bytes<=1%"])
    document = refused.value.document
    assert document is not None
    assert document["published"] is False
    assert refused.value.exit_code == 1


def test_model_and_data_of_the_recipe(tmp_path, sound_folder):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"version: 1\nmodel: here\ndata: {sound_folder}\nsteps: [{{method: rtn}}]\n")
    job = plan_job(None, tmp_path / "out", Options(recipe=str(recipe)))
    assert job.model == "here"
    assert job.data is not None
    assert job.data.name == "sounds"
    assert plan_job("there", tmp_path / "out", Options(recipe=str(recipe))).model == "there"


def test_no_job_leaves_a_trace(tmp_path):
    job = plan_job("model", tmp_path / "new" / ".." / "out", Options())
    assert job.out == tmp_path / "out"
    assert job.work == tmp_path / ".out.penjing"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("goal", ["wer<=+0.01", "vqa/accuracy>=-0.01", "shifted/wer<=+0.02", "p50_ms<=50%"])
def test_a_goal_on_data_is_refused_before_the_model_is_opened(goal, tmp_path):
    with pytest.raises(RecipeError, match="cannot be measured") as refused:
        plan_job("no/such-model", tmp_path / "out", Options(goals=[goal]))
    assert refused.value.hint == "give --data"
    for fine in ("cosine>=0.9", "image/cosine>=0.9", "size_bytes<=50%", "peak_rss_bytes<=50%"):
        assert plan_job("no/such-model", tmp_path / "out", Options(goals=[fine])).goals
    learning = Options(goals=["wer<=+0.01"], recipe="whisper-half")  # learns and is judged by a built-in set
    assert plan_job("no/such-model", tmp_path / "out", learning).goals


def test_calibration_alone_judges_nothing(tmp_path, sound_folder):
    parts = plan_job("model", tmp_path / "out", Options(calibration=str(sound_folder))).parts
    assert parts is not None
    assert [len(part) for part in parts] == [3, 3, 0]


def test_a_set_of_its_own_to_calibrate(tmp_path, sound_folder):
    options = Options(data="speech", calibration=str(sound_folder))
    parts = plan_job("model", tmp_path / "out", options).parts
    assert parts is not None
    assert [len(part) for part in parts] == [3, 3, 60]


def test_calibrating_on_what_is_judged_is_refused(tmp_path, sound_folder):
    other = tmp_path / "other"
    other.mkdir()
    for path in sound_folder.glob("*.wav"):
        (other / path.name).write_bytes(path.read_bytes())
    text = (sound_folder / "metadata.jsonl").read_text().replace('"judge"', '"calibrate"')
    (other / "metadata.jsonl").write_text(text)
    with pytest.raises(DataError, match="have the same content"):
        plan_job("model", tmp_path / "out", Options(data=str(sound_folder), calibration=str(other)))


def test_the_key_of_the_rows_leaves_judge_rows_alone(tmp_path, sound_folder):
    parts = plan_job("model", tmp_path / "out", Options(data=str(sound_folder))).parts
    assert parts is not None
    key = rows_key(parts)
    gone = tuple(type(row)(row.id, row.fields, row.media, Path("gone.wav")) for row in parts.judge)
    assert rows_key(parts._replace(judge=gone)) == key
    assert rows_key(parts._replace(calibrate=parts.calibrate[::-1])) != key
    with pytest.raises(DataError, match=r"gone\.wav"):
        rows_key(parts._replace(select=gone))


def test_a_format_is_named_once(tmp_path):
    job = plan_job("model", tmp_path / "out", Options(formats=("checkpoint", "onnx", "onnx")))
    assert job.formats == ("onnx", "checkpoint")
    with pytest.raises(RecipeError, match="no format called 'onxx'"):
        plan_job("model", tmp_path / "out", Options(formats=("onxx",)))


def test_the_machine_has_no_name():
    found = describe_machine(2)
    assert set(found) == {"cpu", "cores", "threads", "memory_bytes", "os"}
    assert found["threads"] == 2
    assert found["memory_bytes"] > 1e8
    assert cpu_name() == found["cpu"] != ""


def test_several_processes_cannot_go_on_where_one_kept_what_was_learned(tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert not plan_job("model", tmp_path / "out", Options()).resume
    with pytest.raises(RecipeError, match="--resume with several processes") as caught:
        plan_job("model", tmp_path / "out", Options(resume=True))
    assert "in one process" in caught.value.hint
