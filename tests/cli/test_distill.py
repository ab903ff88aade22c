"""Healing from the command line: between the steps of a recipe, killed and taken up again, or refused."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from penjing.artifact.manifest import read_manifest
from tiny_speech import save_whisper

STEPS = """
- {method: width, neurons: 0.5, multiple: 8}
- {method: distill, steps: 40, rate: 0.003, check_every: 10, average: 0.5, save_minutes: 0}
- {method: rtn, bits: 3, group: 0}
- {method: distill, steps: 10, rate: 0.0003, check_every: 5, average: 0.5}
"""
EASY = ["--goal", "wer<=+1000%", "--goal", "size_bytes<=80%", "--engine", "onnxruntime", "--threads", "1", "--quick"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_whisper(tmp_path_factory.mktemp("models") / "whisper", layers=2)


def recipe(folder: Path, steps: str = STEPS) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(f"version: 1\nsteps:{steps.replace(chr(10), chr(10) + '  ')}\n", encoding="utf8")
    return path


def start(model: Path, data: Path, folder: Path, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "penjing", "compress", str(model), "-o", str(folder / "out"), "--data", str(data)]
    command += ["--recipe", str(recipe(folder)), *EASY, *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def logs_of(folder: Path) -> list[Path]:
    """Logs of the courses in a run's work folder, in the order in which they began."""
    found = (folder / ".out.penjing").glob("steps/scratch/course-*/log.jsonl")
    return sorted(found, key=lambda path: path.stat().st_ctime_ns)


@pytest.fixture(scope="module")
def healed(model, sound_folder, tmp_path_factory):
    """A whole run, and one that was killed in the middle of its first course and taken up again."""
    whole, broken = tmp_path_factory.mktemp("whole"), tmp_path_factory.mktemp("broken")
    unbroken = start(model, sound_folder, whole)
    _, err = unbroken.communicate(timeout=1200)
    assert unbroken.returncode == 0, err
    killed = start(model, sound_folder, broken)
    end = time.monotonic() + 900
    while not any(len(path.read_text().splitlines()) > 8 for path in logs_of(broken)):
        assert killed.poll() is None, killed.communicate()[1]
        assert time.monotonic() < end
        time.sleep(0.002)
    killed.kill()
    assert killed.wait() == -signal.SIGKILL
    assert not (broken / "out").exists()
    steps = len(logs_of(broken)[0].read_text().splitlines())
    resumed = start(model, sound_folder, broken, "--resume")
    _, err = resumed.communicate(timeout=1200)
    assert resumed.returncode == 0, err
    return whole / "out", broken / "out", steps, err


def test_a_killed_course_goes_on_and_gives_the_same_bytes(healed):
    whole, broken, steps, err = healed
    assert 8 < steps < 40
    assert "narrow" not in err  # the finished step was kept
    for graph in (whole / "onnx").iterdir():
        assert (broken / "onnx" / graph.name).read_bytes() == graph.read_bytes(), graph.name


def test_the_table_tells_what_is_stored_and_that_it_learned(healed):
    rows = {row["site"]: row for row in read_manifest(healed[0])["coverage"]}
    narrow = rows["model.encoder.layers.0.fc1"]
    assert narrow["method"] == "width, distill, rtn, distill"
    assert narrow["change"] == "64 × 32 → 32 × 32"
    assert narrow["bits"] < 6
    assert 0 < narrow["error"] < 0.5
    untouched = rows["model.decoder.embed_positions"]
    assert (untouched["method"], untouched["bits"]) == ("distill", 32.0)


def test_every_step_is_shown(healed):
    report = json.loads((healed[0] / "report.json").read_text(encoding="utf8"))
    assert [stage["name"] for stage in report["stages"]] == ["source", "width", "distill", "rtn", "distill"]
    sizes = [stage["size_bytes"] for stage in report["stages"]]
    assert sizes[1] <= sizes[2] < 1.05 * sizes[1]  # equal tensors are stored once: biases were all zero
    assert sizes[3] <= sizes[4] < 1.05 * sizes[3]
    assert sizes[0] > sizes[1] > sizes[3]


def test_a_model_that_only_learns_from_another_is_published(model, sound_folder, tmp_path, penjing):
    """A small checkpoint is taught by a larger one and stays as it is otherwise."""
    teacher = save_whisper(tmp_path / "teacher", layers=3)
    steps = f"\n- {{method: distill, teacher: {teacher}, steps: 12, rate: 0.003, check_every: 4, average: 0.5}}"
    options = ["--data", sound_folder, "--recipe", recipe(tmp_path, steps), "--engine", "onnxruntime", "--threads", "1"]
    found = penjing("compress", model, "-o", tmp_path / "out", *options, "--goal", "wer<=+1000%")
    assert found.code == 0, found.told
    rows = read_manifest(tmp_path / "out")["coverage"]
    assert {(row["method"], row["bits"]) for row in rows} == {("distill", 32.0)}


def test_training_that_goes_astray_exits_1_and_publishes_nothing(model, sound_folder, tmp_path, penjing):
    steps = "\n- {method: distill, steps: 1, rate: 0.00001}"
    steps += "\n- {method: distill, steps: 40, rate: 1000, check_every: 1, average: 0}"
    options = ["--data", sound_folder, "--recipe", recipe(tmp_path, steps), *EASY]
    for resume in ([], ["--resume"]):  # the second time it ends as the first time
        found = penjing("compress", model, "-o", tmp_path / "out", *options, *resume)
        check_astray(found, tmp_path)


def check_astray(found, tmp_path: Path) -> None:
    assert found.code == 1
    error = found.json["error"]
    assert error["kind"] == "Diverged"
    assert error["message"].startswith("step 2, distill: training diverged at step ")
    assert "lower the rate" in error["hint"]
    assert not (tmp_path / "out").exists()
    assert [*(tmp_path / ".out.penjing").glob("steps/scratch/course-*/state.safetensors")]


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ("\n- {method: distill, task_share: 1.5}", "task_share: input should be less than or equal to 1"),
        ("\n- {method: distill, logits: 0, features: 0, affinity: 0}", "every loss of distillation weighs 0"),
        ("\n- {method: distill, trains: everything}", "trains: input should be"),
        ("\n- {method: distill, data: scenes-trian}", "scenes-trian"),
        ("\n- {method: distill, pseudo_labels: true}", "pseudo_labels are of clips"),
        ("\n- {method: distill, data: 'speech-train:many'}", "'many' is no number of items"),
        ("\n- {method: distill, teacher: nobody/nothing}", "nobody/nothing"),
        ("\n- {method: rtn}\n- {method: distill}\n- {method: width, neurons: 0.5}", "weights are rounded already"),
    ],
)
def test_what_cannot_be_is_refused_before_work(steps, said, model, sound_folder, tmp_path, penjing):
    options = ["--data", sound_folder, "--recipe", recipe(tmp_path, steps)]
    message, _ = penjing("compress", model, "-o", tmp_path / "out", *options).check_refused()
    assert said in message
    assert not (tmp_path / "out").exists()


def test_data_that_judge_are_not_learned_from(model, sound_folder, tmp_path, penjing):
    folder = shutil.copytree(sound_folder, tmp_path / "sounds")
    lines = [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]
    lines = [{key: value for key, value in line.items() if key != "part"} for line in lines]
    (folder / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    steps = f"\n- {{method: distill, steps: 2, data: {json.dumps(str(folder))}}}"
    options = ["--data", sound_folder, "--recipe", recipe(tmp_path, steps)]
    message, _ = penjing("compress", model, "-o", tmp_path / "out", *options).check_refused()
    assert "have the same content" in message
