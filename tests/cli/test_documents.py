"""The JSON of every command: its keys as the contract has them, one document on stdout and nothing else."""

from __future__ import annotations

import io
import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from penjing.apps.subtitles import WRITERS
from penjing.runtimes.transcription import Segment
from tiny_speech import RATE_HZ, voice

MEASURES = ["size_bytes", "checkpoint_bytes", "p50_ms", "p95_ms", "peak_rss_bytes", "engine", "threads", "metrics"]
TOWER = ["name", "role", "modality", "blocks", "parameters", "size_bytes", "macs", "p50_ms", "latency_share"]
INSPECTION = ["family", "architecture", "parameters", "size_bytes", "tied", "towers"]
RECIPE = {"version": 1, "seed": 0}


def check_measures(measures: dict, metrics: set[str], engine: str, memory: bool = True) -> None:
    assert list(measures) == MEASURES
    assert measures["engine"] == engine
    assert measures["threads"] == 1
    assert measures["size_bytes"] > 1000
    assert 0 < measures["p50_ms"] <= measures["p95_ms"]
    assert measures["peak_rss_bytes"] > 1e6 if memory else measures["peak_rss_bytes"] is None
    assert set(measures["metrics"]) == metrics
    for metric in measures["metrics"].values():
        assert list(metric) == ["value", "low", "high", "n"]
        assert metric["low"] <= metric["value"] <= metric["high"]


@pytest.fixture
def recipe(tmp_path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text("version: 1\nsteps: [{method: rtn}]\n")
    return path


def test_compress(whisper_folder, sound_folder, recipe, tmp_path, penjing):
    out = tmp_path / "out"
    options = ["--data", sound_folder, "--recipe", recipe, "--format", "checkpoint", "--threads", 1]
    found = penjing("compress", whisper_folder, "-o", out, *options, "--goal", "size_bytes<=90%", "--goal", "wer<=+1")
    assert found.code == 0, found.err
    document = found.json
    keys = ["artifact", "published", "goals", "source", "result", "towers", "coverage", "seconds"]
    assert list(document) == [*keys, "data", "shift", "slices", "engines", "warnings"]
    assert Path(document["artifact"]) == out
    assert document["published"] is True
    assert [goal["goal"] for goal in document["goals"]] == ["size_bytes<=90%", "wer<=+1", "shifted/wer<=+2"]
    assert all({"goal", "value", "met"} <= set(goal) and goal["met"] for goal in document["goals"])
    for measures in (document["source"], document["result"]):
        check_measures(measures, {"wer", "cer", "shifted/wer", "shifted/cer"}, "torch", memory=False)
        assert measures["metrics"]["wer"]["n"] == 6
    assert [tower["name"] for tower in document["towers"]] == ["encoder", "decoder", "embedding"]
    assert all(row["method"] == "rtn" or row["skipped"] for row in document["coverage"])
    assert 0 < document["seconds"] < 600
    assert "[" in found.err  # progress
    manifest = json.loads((out / "penjing.json").read_text())
    assert {key: manifest[key] for key in keys[1:]} == {key: document[key] for key in keys[1:]}
    assert str(tmp_path) not in (out / "penjing.json").read_text()
    assert not list(tmp_path.glob(".out*"))


def test_compress_again_with_overwrite(whisper_folder, recipe, tmp_path, penjing):
    out = tmp_path / "out"
    options = ["--recipe", recipe, "--format", "checkpoint", "--overwrite"]
    first = penjing("compress", whisper_folder, "-o", out, *options)
    content = (out / "checkpoint" / "model.safetensors").read_bytes()
    second = penjing("compress", whisper_folder, "-o", out, *options, "--seed", 1)
    assert (first.code, second.code) == (0, 0)
    assert (out / "checkpoint" / "model.safetensors").read_bytes() == content
    assert "seed: 1" in (out / "recipe.yaml").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "recipe.yaml"]


def test_evaluate(speech_artifact, whisper_folder, sound_folder, penjing):
    options = ["--data", sound_folder, "--threads", 1, "--engine", "onnxruntime"]
    found = penjing("evaluate", speech_artifact, *options)
    assert found.code == 0, found.err
    assert list(found.json) == ["measures", "against", "goals"]
    assert found.json["against"] is None
    assert found.json["goals"] == []
    check_measures(found.json["measures"], {"wer", "cer"}, "onnxruntime")
    assert found.json["measures"]["metrics"]["wer"]["n"] == 6  # of a set that fixes its parts only the judge rows


def test_evaluate_against(speech_artifact, whisper_folder, sound_folder, penjing):
    options = ["--data", sound_folder, "--threads", 1, "--engine", "torch"]
    found = penjing("evaluate", speech_artifact, *options, "--against", whisper_folder)
    assert found.code == 0, found.err
    measures, against = found.json["measures"], found.json["against"]
    check_measures(measures, {"wer", "cer"}, "torch", memory=False)
    check_measures(against, {"wer", "cer"}, "torch", memory=False)
    assert measures["size_bytes"] < against["size_bytes"] == 4 * count(whisper_folder, penjing)


def count(model: Path, penjing) -> int:
    return penjing("inspect", model).json["parameters"]


def test_inspect_a_model(whisper_folder, penjing):
    found = penjing("inspect", whisper_folder, "--threads", 1)
    assert found.code == 0
    assert list(found.json) == INSPECTION
    assert (found.json["family"], found.json["architecture"]) == ("whisper", "WhisperForConditionalGeneration")
    assert all(list(tower) == TOWER for tower in found.json["towers"])
    assert sum(tower["parameters"] for tower in found.json["towers"]) == found.json["parameters"]
    assert sum(tower["latency_share"] for tower in found.json["towers"]) == pytest.approx(1)


def test_inspect_an_artifact(speech_artifact, whisper_folder, penjing):
    found = penjing("inspect", speech_artifact)
    assert found.code == 0
    assert list(found.json) == INSPECTION
    assert all(list(tower) == TOWER for tower in found.json["towers"])
    assert found.json["size_bytes"] == sum(path.stat().st_size for path in (speech_artifact / "onnx").iterdir())
    assert found.json["parameters"] == count(whisper_folder, penjing)


def test_transcribe(speech_artifact, tmp_path, penjing):
    for number in range(2):
        soundfile.write(tmp_path / f"{number}.ogg", voice(1 + number), RATE_HZ)
    names = [str(tmp_path / f"{number}.ogg") for number in range(2)]
    found = penjing("transcribe", speech_artifact, *names, "--language", "de", "--threads", 1)
    assert found.code == 0, found.err
    assert list(found.json) == ["results"]
    assert [one["file"] for one in found.json["results"]] == names
    for one in found.json["results"]:
        assert list(one) == ["file", "text", "language", "seconds", "audio_seconds", "segments"]
        assert one["language"] == "de"
    plain = penjing("transcribe", speech_artifact, *names, "--language", "de", as_json=False)
    assert plain.out == "".join(f"{one['file']}: {one['text']}\n" for one in found.json["results"])
    alone = penjing("transcribe", speech_artifact, names[0], "--language", "de", as_json=False)
    assert alone.out == f"{found.json['results'][0]['text']}\n"


def test_subtitles_of_a_folder(speech_artifact, tmp_path, penjing):
    (tmp_path / "calls" / "old").mkdir(parents=True)
    for name in ("a.ogg", "old/b.wav"):
        soundfile.write(tmp_path / "calls" / name, voice(2), RATE_HZ)
    arguments = ("transcribe", speech_artifact, tmp_path / "calls", "--language", "de")
    found = penjing(*arguments, "--format", "vtt", "-o", tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.vtt", "b.vtt"]
    for one, place in zip(found.json["results"], ("a.vtt", "b.vtt"), strict=True):
        written = (tmp_path / "out" / place).read_text(encoding="utf8")
        assert written.startswith("WEBVTT\n")
        assert written.count(" --> ") == sum(bool(part["text"]) for part in one["segments"])
    shown = penjing(*arguments[:2], tmp_path / "calls" / "a.ogg", "--language", "de", "--format", "srt", as_json=False)
    segments = [Segment(part["start"], part["end"], part["text"]) for part in found.json["results"][0]["segments"]]
    assert shown.out == WRITERS["srt"](segments)
    several = penjing(*arguments, "--format", "srt", as_json=False)
    assert (several.code, several.out) == (2, "")
    assert "give -o FOLDER" in several.err
    assert penjing(*arguments, "--format", "srd").check_refused()[1] == "did you mean 'srt'?"
    assert penjing(*arguments, "--format", "jso").check_refused()[1] == "did you mean 'json'?"


def test_documents_of_a_folder(speech_artifact, tmp_path, penjing):
    (tmp_path / "calls").mkdir()
    for name in ("a.ogg", "b.wav"):
        soundfile.write(tmp_path / "calls" / name, voice(2), RATE_HZ)
    arguments = ("transcribe", speech_artifact, tmp_path / "calls", "--language", "de", "--times")
    found = penjing(*arguments, "--format", "json", "-o", tmp_path / "out", as_json=False)
    assert (found.code, found.out) == (0, "")
    written = {path.name: json.loads(path.read_text(encoding="utf8")) for path in (tmp_path / "out").iterdir()}
    assert sorted(written) == ["a.json", "b.json"]
    for one in penjing(*arguments).json["results"]:
        kept = written[Path(one["file"]).with_suffix(".json").name]
        assert (kept["text"], kept["segments"]) == (one["text"], one["segments"])


def test_two_sounds_of_one_name_have_no_room_in_one_folder(speech_artifact, tmp_path, penjing):
    for name in ("a.ogg", "a.wav"):
        soundfile.write(tmp_path / name, voice(1), RATE_HZ)
    out = ("--format", "srt", "-o", tmp_path / "out")
    message, hint = penjing("transcribe", speech_artifact, tmp_path / "a.ogg", tmp_path / "a.wav", *out).check_refused()
    assert message.endswith("would both become " + str(tmp_path / "out" / "a.srt"))
    assert hint == "rename one of them"
    assert not (tmp_path / "out").exists()


def test_transcribe_a_stream(speech_artifact, monkeypatch, penjing):
    samples = (voice(2.5) * 32767).astype("<i2").tobytes()
    for as_json in (True, False):
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(samples)))
        found = penjing("transcribe", speech_artifact, "-", "--language", "de", as_json=as_json)
        assert found.code == 0, found.err
        if as_json:
            ((one,),) = found.json.values()
            assert one["file"] == "-"
            assert [(part["start"], part["end"]) for part in one["segments"]] == [(0.0, 2.5)]
        else:
            assert found.out == f"{one['text']}\n"
    assert "leave -o away" in penjing("transcribe", speech_artifact, "-", "-o", "somewhere").check_refused()[1]


BAD_SOUNDS = {
    "words": (lambda path: path.write_text("no sound at all"), "is not a sound that can be read", "give WAV, FLAC"),
    "no samples": (lambda path: soundfile.write(path, np.zeros(0), RATE_HZ), "has no samples", "leave it out"),
    "no bytes": (lambda path: path.write_bytes(b""), "is empty (0 bytes)", "leave it out"),
    "missing": (lambda path: None, "is not a file", "give sound files"),
    "a folder": (lambda path: path.mkdir(), "holds no sound files", "wav, flac, ogg, mp3"),
}


@pytest.mark.parametrize("name", BAD_SOUNDS)
def test_transcribe_no_sound(name, speech_artifact, tmp_path, penjing, untouched):
    make, message, hint = BAD_SOUNDS[name]
    make(tmp_path / "clip.wav")
    untouched()
    said = penjing("transcribe", speech_artifact, tmp_path / "clip.wav").check_refused()
    assert message in said[0]
    assert str(tmp_path / "clip.wav") in said[0]
    assert hint in said[1]
    untouched()


def test_transcribe_a_language_it_does_not_know(speech_artifact, sound_folder, penjing):
    found = penjing("transcribe", speech_artifact, sound_folder / "0.wav", "--language", "dee")
    assert found.check_refused() == ("this model does not know the language 'dee'", "did you mean 'de'?")


def test_transcribe_with_what_is_no_artifact(whisper_folder, sound_folder, penjing):
    message, hint = penjing("transcribe", whisper_folder, sound_folder / "0.wav").check_refused()
    assert message == f"{whisper_folder} has no penjing.json"
    assert hint == "give the folder that `penjing compress` wrote"


def test_transcribe_with_half_an_artifact(speech_artifact, sound_folder, tmp_path, penjing):
    half = Path(shutil.copytree(speech_artifact, tmp_path / "half"))
    (half / "onnx" / "encoder_model.onnx").unlink()
    message, _ = penjing("transcribe", half, sound_folder / "0.wav").check_refused()
    assert message.endswith("onnx/encoder_model.onnx is missing")


def test_recipes(penjing):
    found = penjing("recipes").json
    assert list(found) == ["recipes"]
    assert {"speech", "dual-encoder", "weights"} <= set(found["recipes"])
    for name, recipe in found["recipes"].items():
        assert {key: recipe[key] for key in RECIPE} == RECIPE
        assert penjing("recipes", name).json == recipe
        assert penjing("recipes", name, as_json=False).out.startswith("# ")
    assert "speech" in penjing("recipes", as_json=False).out


def test_methods(penjing):
    found = penjing("methods").json
    assert list(found) == ["methods"]
    assert {"rtn", "static_int8", "float16"} <= set(found["methods"])
    for name, method in found["methods"].items():
        assert list(method) == ["summary", "roles", "needs_data", "settings"]
        assert all({"description", "default"} <= set(setting) for setting in method["settings"].values())
        assert penjing("methods", name).json == {"methods": {name: method}}
        assert f"{name}\n" in penjing("methods", name, as_json=False).out
    assert penjing("methods", "rtm").check_refused() == ("no method called 'rtm'", "did you mean 'rtn'?")


def test_report(speech_artifact, tmp_path, penjing):
    from penjing.artifact.manifest import read_manifest, verify

    artifact = Path(shutil.copytree(speech_artifact, tmp_path / "artifact"))
    assert penjing("report", artifact).json == read_manifest(artifact)
    (artifact / "report.html").write_text("lost")
    found = penjing("report", artifact, as_json=False)
    assert found.code == 0
    assert found.told == [f"wrote {artifact / 'report.html'}"]
    assert "published" in found.out
    assert "<html" in (artifact / "report.html").read_text()
    verify(artifact, read_manifest(artifact))


def test_report_of_what_is_no_artifact(tmp_path, penjing):
    assert penjing("report", tmp_path / "nowhere").check_refused()[0].endswith("nowhere is not a folder")
