"""Structure from the command line: smaller graphs, a configuration that says so, step by step, taken up again."""

from __future__ import annotations

import json

import pytest

from penjing.artifact.manifest import read_manifest
from penjing.methods.rtn import Rtn
from tiny_speech import save_whisper

STEPS = """
- {method: depth, drop: 1, by: influence}
- {method: width, neurons: 0.5, heads: 0.5, multiple: 8, towers: [encoder]}
- {method: rtn, bits: 8}
"""
EASY = ["--goal", "wer<=+1000%", "--goal", "size_bytes<=80%", "--quick"]


@pytest.fixture(scope="module")
def deep_whisper(tmp_path_factory):
    return save_whisper(tmp_path_factory.mktemp("models") / "whisper", layers=2)


def recipe(folder, steps=STEPS):
    path = folder / "recipe.yaml"
    path.write_text(f"version: 1\nsteps:{steps.replace(chr(10), chr(10) + '  ')}\n", encoding="utf8")
    return path


@pytest.fixture(scope="module")
def compressed(deep_whisper, sound_folder, tmp_path_factory):
    from penjing.cli.run import run

    folder = tmp_path_factory.mktemp("structure")
    options = ["--data", str(sound_folder), "--recipe", str(recipe(folder)), "--engine", "onnxruntime", *EASY]
    formats = ["--format", "onnx", "--format", "checkpoint"]
    code = run(["compress", str(deep_whisper), "-o", str(folder / "out"), *options, *formats])
    assert code == 0
    return folder / "out"


def test_configuration_and_checkpoint_say_the_new_shapes(compressed):
    for folder in (compressed, compressed / "checkpoint"):
        config = json.loads((folder / "config.json").read_text(encoding="utf8"))
        assert (config["encoder_layers"], config["decoder_layers"]) == (1, 1)
        assert (config["encoder_ffn_dim"], config["decoder_ffn_dim"]) == (32, 64)
    layers = json.loads((compressed / "checkpoint" / "layers.json").read_text(encoding="utf8"))
    assert any(".self_attn" in name for name in layers["reshaped"])  # heads are in no setting of Whisper


def test_the_report_shows_every_step(compressed):
    report = json.loads((compressed / "report.json").read_text(encoding="utf8"))
    stages = report["stages"]
    assert [stage["name"] for stage in stages] == ["source", "depth", "width", "rtn"]
    sizes = [stage["size_bytes"] for stage in stages]
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == 4
    assert sizes[-1] == report["result"]["size_bytes"]
    assert all(stage["p50_ms"] > 0 and "wer" in stage["metrics"] for stage in stages)
    page = (compressed / "report.html").read_text(encoding="utf8")
    assert "Bytes, milliseconds and metrics after each step" in page
    assert "Step by step" in page


def test_the_table_tells_what_became_of_every_site(compressed):
    rows = {row["site"]: row for row in read_manifest(compressed)["coverage"]}
    gone, narrow = rows["model.encoder.layers.1.fc1"], rows["model.encoder.layers.0.fc1"]
    assert gone["change"].startswith("gone: ")
    assert (gone["method"], gone["size_bytes"]) == ("depth", 0)
    assert narrow["change"] == "64 × 32 → 32 × 32"
    assert narrow["method"] == "width, rtn"
    assert 32 * 32 <= narrow["size_bytes"] < 4 * 32 * 32


def test_the_artifact_is_inspected_and_used_without_its_source(compressed, sound_folder, penjing):
    found = penjing("inspect", compressed)
    assert found.code == 0, found.err
    sound = next(sound_folder.glob("*.wav"), None) or next(sound_folder.glob("*.ogg"))
    heard = penjing("transcribe", compressed, sound, "--engine", "onnxruntime")
    assert heard.code == 0, heard.err
    assert heard.json["results"][0]["audio_seconds"] > 0


def test_a_killed_run_goes_on_with_the_same_bytes(
    deep_whisper, sound_folder, compressed, tmp_path, penjing, monkeypatch
):
    options = ["--data", sound_folder, "--recipe", recipe(tmp_path), "--engine", "onnxruntime", *EASY, "--resume"]
    with monkeypatch.context() as killed:
        killed.setattr(Rtn, "apply", lambda *args: (_ for _ in ()).throw(KeyboardInterrupt))
        assert penjing("compress", deep_whisper, "-o", tmp_path / "out", *options).code == 130
    before = sorted((tmp_path / ".out.penjing" / "steps").glob("*/notes.json"))
    assert len(before) == 2
    found = penjing("compress", deep_whisper, "-o", tmp_path / "out", *options)
    assert found.code == 0, found.err
    assert "width: " not in found.err  # what structure gave was taken up, and only rounded
    for graph in (compressed / "onnx").iterdir():
        assert (tmp_path / "out" / "onnx" / graph.name).read_bytes() == graph.read_bytes()


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ("\n- {method: depth, drop: 2}", "tower encoder: depth would drop 2 of its 2 layers"),
        ("\n- {method: width, neurons: 0.95, multiple: 8}", "fc2: width would leave"),
        ("\n- {method: width}", "width takes nothing away"),
        ("\n- {method: rtn}\n- {method: width, neurons: 0.5}", "width after rtn: weights are rounded already"),
        ("\n- {method: width, neurons: 0.5, uneven: true}", "energy does not compare blocks"),
    ],
)
def test_what_cannot_be_is_refused_before_work(steps, said, deep_whisper, sound_folder, tmp_path, penjing):
    options = ["--data", sound_folder, "--recipe", recipe(tmp_path, steps)]
    message, _ = penjing("compress", deep_whisper, "-o", tmp_path / "out", *options).check_refused()
    assert said in message
    assert not (tmp_path / "out").exists()
