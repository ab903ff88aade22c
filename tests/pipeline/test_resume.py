"""Ctrl-C leaves no half artifact; kill -9 and --resume give the same bytes; nothing foreign is ever resumed."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from penjing.artifact.manifest import read_manifest
from penjing.errors import GoalNotMet
from penjing.pipeline import compress as pipeline
from tiny_models import TINY

MEASURED = {"penjing.json", "report.json", "report.html", "README.md"}
"""Files that tell times and so differ between two runs."""


def hashes(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in MEASURED
    }


def start(model: Path, data: Path, out: Path, *options: str) -> subprocess.Popen[str]:
    """Compress in a process of its own, as the fixture `speech_artifact` does in this one."""
    command = [sys.executable, "-m", "penjing", "compress", str(model), "-o", str(out), "--data", str(data)]
    command += ["--goal", "size_bytes<=90%", "--format", "onnx", "--format", "checkpoint", "--threads", "1", *options]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background jobs ignore interruptions; no thread of ours forks here.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )


def wait_for(done: Callable[[], bool], process: subprocess.Popen[str], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end
        time.sleep(0.01)


def test_killed_and_resumed_gives_the_same_bytes(whisper_folder, sound_folder, speech_artifact, tmp_path):
    out, work = tmp_path / "out", tmp_path / ".out.penjing"
    killed = start(whisper_folder, sound_folder, out)
    wait_for(lambda: any(work.glob("steps/*/notes.json")), killed)
    killed.kill()
    assert killed.wait() == -signal.SIGKILL
    assert not out.exists()
    resumed = start(whisper_folder, sound_folder, out, "--resume")
    _, err = resumed.communicate(timeout=300)
    assert resumed.returncode == 0, err
    assert "export source" not in err
    assert "static_int8" not in err  # the finished step was kept
    expected = hashes(speech_artifact)
    assert {"onnx/encoder_model.onnx", "checkpoint/model.safetensors", "config.json", "recipe.yaml"} <= set(expected)
    assert hashes(out) == expected
    check_equal_but_for_measurements(out, speech_artifact)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def check_equal_but_for_measurements(one: Path, other: Path) -> None:
    """What was done is told alike; what was measured may differ."""
    first, second = read_manifest(one), read_manifest(other)
    for key in ("model", "coverage", "recipe", "data", "settings", "versions", "published"):
        assert first[key] == second[key], key
    metrics = [manifest["result"]["metrics"] for manifest in (first, second)]
    assert metrics[0] == metrics[1]


def test_interrupted_leaves_what_was_there(whisper_folder, sound_folder, speech_artifact, tmp_path):
    out = Path(shutil.copytree(speech_artifact, tmp_path / "out"))
    before = hashes(tmp_path)
    process = start(whisper_folder, sound_folder, out, "--overwrite", "--json")
    wait_for(lambda: any((tmp_path / ".out.penjing").glob("source-*")), process)
    os.kill(process.pid, signal.SIGINT)
    stdout, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert '"kind": "Interrupted"' in stdout
    hint = "no step was finished, and nothing is left behind: run the command again"
    assert err.splitlines()[-2:] == ["error: interrupted", f"  hint: {hint}"]
    assert "Traceback" not in err
    assert hashes(tmp_path) == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def options(recipe: Path, *, resume: bool) -> pipeline.Options:
    goals, formats = ("size_bytes<=1%",), ("checkpoint",)
    return pipeline.Options(recipe=str(recipe), goals=goals, formats=formats, threads=1, resume=resume)


@pytest.fixture
def stages(tmp_path) -> Callable[..., list[str]]:
    """Run up to a refusal, which keeps the finished steps; returns the steps that ran."""

    def run(recipe: str, model: str = "bert", resume: bool = True) -> list[str]:
        path, folder = tmp_path / "recipe.yaml", tmp_path / model
        path.write_text(f"version: 1\nsteps: [{recipe}]\n")
        if not folder.exists():
            TINY[model](folder)
        told: list[str] = []
        with pytest.raises(GoalNotMet):
            pipeline.compress(
                str(folder), tmp_path / "out", options(path, resume=resume), tell=lambda what, *_: told.append(what)
            )
        return [what.partition(":")[0] for what in dict.fromkeys(told) if ": " in what]

    return run


EMBEDDING, ENCODER = "{method: rtn, towers: [embedding]}", "{method: rtn, bits: 4, towers: [encoder]}"


def test_a_longer_recipe_goes_on_where_the_shorter_ended(stages):
    assert stages(EMBEDDING) == ["rtn"]
    assert stages(EMBEDDING) == []
    assert stages(f"{EMBEDDING}, {ENCODER}") == ["rtn"]
    assert stages(f"{EMBEDDING}, {ENCODER}") == []


def test_without_resume_everything_runs_again(stages):
    assert stages(EMBEDDING) == ["rtn"]
    assert stages(EMBEDDING, resume=False) == ["rtn"]


def test_another_recipe_order_or_model_is_not_resumed(stages):
    assert stages(f"{EMBEDDING}, {ENCODER}") == ["rtn", "rtn"]
    assert stages(ENCODER) == ["rtn"]
    assert stages(EMBEDDING, model="distilbert") == ["rtn"]


def test_a_step_cut_short_does_not_count(stages, tmp_path):
    assert stages(EMBEDDING) == ["rtn"]
    (step,) = (tmp_path / ".out.penjing" / "steps").iterdir()
    step.rename(step.with_name(step.name + ".partial"))
    assert stages(EMBEDDING) == ["rtn"]
