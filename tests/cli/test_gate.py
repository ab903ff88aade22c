"""The gate: a good result is published, a ruined, slow or unchanged one is refused and leaves nothing at OUT."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from penjing.artifact.manifest import read_manifest, verify
from penjing.pipeline import compress as pipeline
from tiny_pictures import save_pictures

MODEL = "pictures-dual-encoder"
TORCH = ["--format", "checkpoint", "--threads", 2]
"""Measured in PyTorch: as strict, and nothing is exported."""


@pytest.fixture(scope="module")
def few_pictures(tmp_path_factory) -> Path:
    return save_pictures(tmp_path_factory.mktemp("data") / "few", {"calibrate": 1, "select": 1, "judge": 24})


def recipe(folder: Path, *steps: str) -> Path:
    path = folder / "recipe.yaml"
    path.write_text("version: 1\nsteps:\n" + "".join(f"  - {{{step}}}\n" for step in steps))
    return path


def check_nothing_published(found, tmp_path: Path) -> Path:
    """Exit code 1, the report where the work is kept, nothing at OUT; returns the folder of the report."""
    assert found.code == 1, found.err
    assert found.json["published"] is False
    work = tmp_path / ".out.penjing"
    assert not (tmp_path / "out").exists()
    assert not (work / "artifact").exists()
    assert found.told[0].startswith("error: not published: ")
    assert found.told[1] == f"  hint: the report is {work / 'report.html'}"
    assert len(found.told) == 2
    report = json.loads((work / "report.json").read_text())
    assert report["published"] is False
    assert report["goals"] == found.json["goals"]
    assert "<html" in (work / "report.html").read_text()
    return work


def test_int8_passes(picture_artifact):
    manifest = read_manifest(picture_artifact)
    verify(picture_artifact, manifest)
    clean, shifted = (
        ["recall_at_1>=-0.01", "size_bytes<100%"],
        ["shifted/recall_at_1>=-0.02", "shifted/out_of_range<=0.01"],
    )
    assert [goal["goal"] for goal in manifest["goals"]] == clean + shifted
    assert all(goal["met"] for goal in manifest["goals"])
    assert manifest["result"]["size_bytes"] < 0.35 * manifest["source"]["size_bytes"]
    assert {row["method"] for row in manifest["coverage"]} >= {"static_int8", "rtn", "float16"}
    assert manifest["data"].items() >= {"name": "pictures", "calibrate": 8, "select": 4, "judge": 60}.items()


@pytest.mark.slow
def test_int8_passes_on_all_pictures(tmp_path, penjing):
    found = penjing("compress", MODEL, "-o", tmp_path / "out", "--data", "pictures")
    assert found.code == 0, found.err
    assert found.json["result"]["metrics"]["recall_at_1"]["n"] == 200


def test_two_bits_are_refused(few_pictures, tmp_path, penjing):
    two_bits = recipe(tmp_path, "method: rtn, bits: 2")
    options = ["--data", few_pictures, "--recipe", two_bits, *TORCH]
    found = penjing("compress", MODEL, "-o", tmp_path / "out", *options)
    check_nothing_published(found, tmp_path)
    goal = next(goal for goal in found.json["goals"] if not goal["met"])
    assert goal["goal"] == "recall_at_1>=-0.01"
    assert goal["value"] < goal["source"] - 0.1
    assert f"recall_at_1>=-0.01 is {goal['value']:.4g}, limit {goal['limit']:.4g}" in found.told[0]
    assert "size_bytes" not in found.told[0]  # that one was met


@pytest.mark.slow
def test_two_bits_are_refused_in_the_engine(tmp_path, penjing):
    two_bits = recipe(tmp_path, "method: rtn, bits: 2, group: 32")
    found = penjing("compress", MODEL, "-o", tmp_path / "out", "--data", "pictures", "--recipe", two_bits)
    check_nothing_published(found, tmp_path)
    assert not found.json["goals"][0]["met"]


def test_changing_nothing_is_refused(tmp_path, penjing):
    nothing = recipe(tmp_path, "method: float16, towers: [text_embedding]")
    options = ["--recipe", nothing, "--goal", "size_bytes<=100%", *TORCH]
    found = penjing("compress", MODEL, "-o", tmp_path / "out", *options)
    work = check_nothing_published(found, tmp_path)
    assert "nothing was changed: no step found a site" in found.told[0]
    assert json.loads((work / "report.json").read_text())["problems"] == ["nothing was changed: no step found a site"]


def test_why_nothing_was_changed(tmp_path, penjing):
    nothing = recipe(tmp_path, "method: rtn, group: 128, towers: [image], sites: ['*patch_embeddings.projection']")
    options = ["--recipe", nothing, "--goal", "size_bytes<=100%", *TORCH]
    found = penjing("compress", MODEL, "-o", tmp_path / "out", *options)
    check_nothing_published(found, tmp_path)
    assert "nothing was changed: a convolution has one scale per channel" in found.told[0]


def test_a_speed_goal_is_a_gate(few_pictures, tmp_path, penjing):
    eight_bits = recipe(tmp_path, "method: rtn")
    options = ["--data", few_pictures, "--recipe", eight_bits, "--goal", "p50_ms<=1%", *TORCH]
    found = penjing("compress", MODEL, "-o", tmp_path / "out", *options)
    check_nothing_published(found, tmp_path)
    (goal,) = found.json["goals"]
    assert (goal["goal"], goal["met"]) == ("p50_ms<=1%", False)
    assert goal["value"] == pytest.approx(found.json["result"]["p50_ms"])
    assert goal["limit"] == pytest.approx(0.01 * found.json["source"]["p50_ms"])


def test_refused_and_resumed_with_a_goal_it_meets(tmp_path, penjing):
    options = ["--recipe", recipe(tmp_path, "method: rtn"), *TORCH]
    refused = penjing("compress", MODEL, "-o", tmp_path / "out", *options, "--goal", "size_bytes<=10%")
    check_nothing_published(refused, tmp_path)
    assert "rtn: " in refused.err
    found = penjing("compress", MODEL, "-o", tmp_path / "out", *options, "--goal", "size_bytes<=50%", "--resume")
    assert found.code == 0, found.err
    assert "rtn: " not in found.err  # the finished step was kept
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "recipe.yaml"]


def test_a_ruined_model_is_refused_with_numbers_that_json_can_say(whisper_folder, tmp_path, penjing, monkeypatch):
    run_steps = pipeline.run_steps

    def ruin(model, *args, **options):
        found = run_steps(model, *args, **options)
        with torch.no_grad():
            model.net.model.encoder.layer_norm.weight.fill_(float("nan"))
        return found

    monkeypatch.setattr(pipeline, "run_steps", ruin)
    options = ["--recipe", recipe(tmp_path, "method: rtn"), *TORCH]
    found = penjing("compress", whisper_folder, "-o", tmp_path / "out", *options)
    check_nothing_published(found, tmp_path)
    assert "cosine>=0.99 is " in found.told[0]
