"""What lies in an artifact: the files of the source as they were, every byte hashed, nothing of this machine."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

import penjing
from penjing.artifact.manifest import file_hashes, read_manifest, verify
from penjing.errors import ArtifactError, EngineError
from penjing.models.families import whisper_settings
from penjing.pipeline.evaluate import open_checkpoint
from penjing.pipeline.inspect import inspect_artifact
from penjing.report.document import parse

AS_THEY_WERE = ("config.json", "generation_config.json", "tokenizer.json", "preprocessor_config.json")


@pytest.fixture(scope="module")
def manifest(speech_artifact) -> dict[str, Any]:
    return read_manifest(speech_artifact)


def test_the_files_of_an_artifact(speech_artifact):
    top = {path.name for path in speech_artifact.iterdir()}
    reports = {"penjing.json", "recipe.yaml", "report.html", "report.json", "README.md"}
    assert top == {"onnx", "checkpoint", "tokenizer_config.json", *AS_THEY_WERE, *reports}
    graphs = {path.name for path in (speech_artifact / "onnx").iterdir()}
    assert graphs == {"encoder_model.onnx", "decoder_with_past_model.onnx"}


@pytest.mark.parametrize("name", AS_THEY_WERE)
def test_files_of_the_source_are_as_they_were(name, speech_artifact, whisper_folder):
    assert (speech_artifact / name).read_bytes() == (whisper_folder / name).read_bytes()


def test_every_byte_is_hashed(speech_artifact, manifest, tmp_path):
    assert manifest["files"] == file_hashes(speech_artifact)
    verify(speech_artifact, manifest)
    changed = Path(shutil.copytree(speech_artifact, tmp_path / "changed"))
    with (changed / "onnx" / "encoder_model.onnx").open("r+b") as stream:
        stream.seek(1000)
        stream.write(b"?")
    with pytest.raises(ArtifactError, match=r"onnx/encoder_model\.onnx was changed"):
        verify(changed, manifest)


def test_nothing_of_this_machine(speech_artifact, whisper_folder):
    for path in speech_artifact.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            for secret in (str(whisper_folder.parent), str(speech_artifact.parent), str(Path(penjing.__file__).parent)):
                assert secret.encode() not in content, (path.name, secret)


def test_sizes_are_those_on_disk(speech_artifact, whisper_folder, manifest):
    graphs = sum(path.stat().st_size for path in (speech_artifact / "onnx").iterdir())
    assert manifest["result"]["size_bytes"] == graphs
    assert manifest["source"]["size_bytes"] == 4 * manifest["model"]["parameters"]
    assert manifest["model"]["size_bytes"] == (whisper_folder / "model.safetensors").stat().st_size
    assert manifest["model"]["id"] == "whisper"


def test_source_and_result_run_in_one_engine_and_pytorch_stands_beside(manifest):
    assert manifest["source"]["engine"] == manifest["result"]["engine"] in ("openvino", "onnxruntime")
    assert manifest["reference"]["engine"] == "torch"
    for name in ("source", "result", "reference"):
        assert manifest[name]["p50_ms"] > 0
        assert manifest[name]["threads"] == 1
    assert all(manifest[name]["peak_rss_bytes"] > 1e7 for name in ("source", "result"))
    assert set(manifest["changes"]) == {"wer", "cer", "shifted/wer", "shifted/cer"}


def test_towers_and_coverage_agree(manifest):
    towers = {tower["name"]: tower for tower in manifest["towers"]}
    assert set(towers) == {"encoder", "decoder", "embedding"}
    assert sum(tower["parameters"] for tower in towers.values()) == manifest["model"]["parameters"]
    for name, tower in towers.items():
        sites = [row for row in manifest["coverage"] if row["tower"] == name]
        assert sum(row["size_bytes"] for row in sites) <= tower["size_bytes_after"] < tower["size_bytes_before"]
    assert all(bool(row["method"]) != bool(row["skipped"]) for row in manifest["coverage"])
    assert towers["encoder"]["p50_ms_after"] > 0
    assert towers["embedding"]["p50_ms_after"] is None  # it has no graph of its own


def test_the_recipe_as_run(speech_artifact, manifest):
    assert (speech_artifact / "recipe.yaml").read_text() == manifest["recipe"]
    assert [step["method"] for step in manifest["steps"]] == ["dynamic_int8", "rtn", "float16"]
    assert all(step["seconds"] > 0 for step in manifest["steps"])
    assert manifest["data"].items() >= {"name": "sounds", "calibrate": 3, "select": 3, "judge": 6}.items()
    assert manifest["data"]["augmented"]
    assert manifest["data"]["builtin"] == {"calibration-audio": 4, "speech": 4}


def test_the_manifest_is_a_report(manifest):
    document = parse(manifest)
    assert document.published
    assert document.artifact_name == "whisper-small"
    assert {"torch", "onnxruntime", "penjing"} <= set(document.versions)


@pytest.mark.parametrize("engine", ["auto", "onnxruntime"])
def test_evaluating_again_gives_the_same_quality(engine, speech_artifact, sound_folder, manifest):
    found = penjing.evaluate(speech_artifact, sound_folder, engine=engine, threads=1)["measures"]
    if found["engine"] == manifest["result"]["engine"]:
        assert found["metrics"].items() <= manifest["result"]["metrics"].items()
    assert found["metrics"]["wer"]["n"] == 6
    assert found["size_bytes"] == manifest["result"]["size_bytes"]


def test_its_checkpoint_runs_in_pytorch(speech_artifact, manifest):
    model = open_checkpoint(speech_artifact)
    assert model.family.task == "speech-seq2seq"
    assert model.settings == manifest["settings"]


def test_graphs_alone_do_not_run_in_pytorch(picture_artifact, picture_folder):
    with pytest.raises(EngineError, match="has no checkpoint/ for PyTorch"):
        penjing.evaluate(picture_artifact, picture_folder, engine="torch")


def test_a_checkpoint_alone_runs_in_no_engine(speech_artifact, sound_folder, tmp_path):
    alone = Path(shutil.copytree(speech_artifact, tmp_path / "alone", ignore=shutil.ignore_patterns("onnx")))
    with pytest.raises(EngineError, match="holds a checkpoint and no graphs") as told:
        penjing.evaluate(alone, sound_folder)
    assert told.value.hint == f"`penjing evaluate {alone} --data DATA --engine torch` measures it in PyTorch"
    with pytest.raises(ArtifactError, match="holds a checkpoint and no graphs") as opened:
        penjing.load(alone)
    assert opened.value.hint == told.value.hint


def test_inspected_without_times(speech_artifact, tmp_path):
    other = Path(shutil.copytree(speech_artifact, tmp_path / "other"))
    text = (other / "penjing.json").read_text()
    times = [tower["p50_ms_after"] for tower in read_manifest(other)["towers"] if tower["p50_ms_after"]]
    for value in times:
        text = text.replace(f'"p50_ms_after": {value}', '"p50_ms_after": null')
    (other / "penjing.json").write_text(text)
    found = inspect_artifact(other)
    assert [tower["latency_share"] for tower in found["towers"]] == [None, None, None]
    assert inspect_artifact(speech_artifact)["towers"][0]["latency_share"] > 0


def test_statistics_see_no_judged_row(whisper_folder, sound_folder, tmp_path, monkeypatch):
    read, seen = whisper_settings.read_audio, []

    def watch(file, *rest):
        seen.append(Path(file).name)
        return read(file, *rest)

    monkeypatch.setattr(whisper_settings, "read_audio", watch)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("version: 1\nsteps: [{method: static_int8}]\n")
    goals, formats = ["wer<=+1"], ["checkpoint"]
    penjing.compress(
        whisper_folder, tmp_path / "out", data=sound_folder, recipe=recipe, goals=goals, formats=formats, threads=1,
        quick=True,
    )  # fmt: skip
    assert set(seen) >= {f"{number}.wav" for number in range(12) if number % 4 < 2}
    assert not set(seen) & {f"{number}.wav" for number in range(12) if number % 4 >= 2}
