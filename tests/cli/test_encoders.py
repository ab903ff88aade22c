"""Encoders of texts from checkpoint to vectors: compressed, judged by pairs of texts or by likeness, embedded with."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch

import penjing as package
from penjing.artifact.manifest import read_manifest
from tiny_encoders import tokenizer, write_stages

TEXTS = ["the red cat sees a tree", "two small birds", "it is not far and then we find the old house near the river"]


def by_hand(folder, texts) -> np.ndarray:
    """Mean of transformers' hidden states over the words of each text, one text at a time, of length 1."""
    import transformers

    net = transformers.BertModel.from_pretrained(folder).eval()
    vectors = []
    for text in texts:
        with torch.no_grad():
            hidden = net(**tokenizer()(text, return_tensors="pt")).last_hidden_state[0]
        pooled = hidden.mean(0)
        vectors.append((pooled / pooled.norm()).numpy())
    return np.stack(vectors)


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_float_graphs_embed_as_transformers_does(engine, encoder_folder, tmp_path):
    from penjing.pipeline.evaluate import open_any
    from penjing.runtimes.engine import choose_engine
    from penjing.values import silent

    chosen = choose_engine(engine, 1, exact=True, cache=False)
    runner = open_any(str(encoder_folder), chosen, tmp_path, silent).runner
    assert np.abs(runner.embed(TEXTS) - by_hand(encoder_folder, TEXTS)).max() < 1e-4


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_the_artifact_embeds_nearly_alike(engine, encoder_artifact, encoder_folder):
    found = package.load(encoder_artifact, engine).embed(TEXTS)
    assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    assert ((found * by_hand(encoder_folder, TEXTS)).sum(1) > 0.97).all()


def test_the_manifest_tells_of_pooling_and_rank_correlation(encoder_artifact):
    manifest = read_manifest(encoder_artifact)
    assert manifest["task"] == "encoder"
    assert manifest["settings"]["pooling"] == "mean"
    assert manifest["settings"]["text"]["max_length"] == 32
    for side in ("source", "result"):
        assert 0 < manifest[side]["metrics"]["spearman"]["value"] <= 1
        assert manifest[side]["p50_ms"] > 0
    assert "cosine" not in manifest["source"]["metrics"]
    assert manifest["result"]["metrics"]["cosine"]["value"] > 0.98
    assert {row["method"] for row in manifest["coverage"] if row["tower"] == "text"} >= {"static_int8", "float16"}
    (pooler,) = [row for row in manifest["coverage"] if row["tower"] == "pooler"]
    assert pooler["skipped"]


@pytest.mark.parametrize("name", ["modules.json", "1_Pooling/config.json", "tokenizer.json"])
def test_files_of_sentence_transformers_are_kept(name, encoder_artifact, encoder_folder):
    for folder in (encoder_artifact, encoder_artifact / "checkpoint"):
        assert (folder / name).read_bytes() == (encoder_folder / name).read_bytes()


def test_evaluate_agrees_with_the_report(encoder_artifact, encoder_folder, pairs_file, penjing):
    asked = ("--data", pairs_file, "--engine", "onnxruntime")
    found = penjing("evaluate", encoder_artifact, *asked, "--against", encoder_folder).json
    assert found["measures"]["metrics"]["spearman"]["n"] == 60
    assert found["measures"]["metrics"]["cosine"]["value"] > 0.98
    assert set(found["against"]["metrics"]) == {"spearman"}
    alone = penjing("evaluate", encoder_artifact, *asked).json["measures"]["metrics"]
    assert alone == {"spearman": found["measures"]["metrics"]["spearman"]}


def test_the_checkpoint_runs_in_torch(encoder_artifact, pairs_file, penjing):
    found = penjing("evaluate", encoder_artifact, "--data", pairs_file, "--engine", "torch").json
    graphs = penjing("evaluate", encoder_artifact, "--data", pairs_file, "--engine", "onnxruntime").json
    values = [one["measures"]["metrics"]["spearman"]["value"] for one in (found, graphs)]
    assert values[0] == pytest.approx(values[1], abs=0.05)


def test_inspect_and_report(encoder_folder, encoder_artifact, penjing):
    for one in (encoder_folder, encoder_artifact):
        found = penjing("inspect", one).json
        assert found["family"] == "encoder"
        assert [tower["name"] for tower in found["towers"]] == ["text", "pooler", "embedding"]
    assert "rank correlation" in penjing("report", encoder_artifact, as_json=False).out


@pytest.fixture
def plain_texts(tmp_path, pairs_file):
    """Texts without scores."""
    lines = [json.loads(line)["sentence1"] for line in pairs_file.read_text().splitlines()]
    path = tmp_path / "plain.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in lines))
    return path


def test_texts_alone_are_judged_by_likeness(encoder_folder, plain_texts, tmp_path, penjing):
    out = tmp_path / "out"
    asked = ("--data", plain_texts, "--recipe", "weights", "--engine", "onnxruntime")
    found = penjing("compress", encoder_folder, "-o", out, *asked).json
    assert [goal["goal"] for goal in found["goals"]] == ["cosine>=0.99", "size_bytes<100%", "shifted/cosine>=0.98"]
    assert found["source"]["metrics"] == {}
    assert found["result"]["metrics"]["cosine"]["value"] > 0.99
    assert found["source"]["p50_ms"] > 0
    alone = penjing("evaluate", out, "--data", plain_texts).check_refused()
    assert alone == (
        "rows without a `score` judge a model only against another",
        "give --against MODEL, or rows with text, text2 and score",
    )
    against = penjing("evaluate", out, "--data", plain_texts, "--against", encoder_folder, "--engine", "onnxruntime")
    assert against.json["measures"]["metrics"]["cosine"]["value"] > 0.99


def test_a_ruined_encoder_is_refused(encoder_folder, plain_texts, tmp_path, penjing):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("version: 1\nsteps: [{method: rtn, bits: 2}]\n")
    asked = ("--data", plain_texts, "--recipe", recipe, "--engine", "onnxruntime")
    found = penjing("compress", encoder_folder, "-o", tmp_path / "out", *asked)
    assert found.code == 1
    assert not (tmp_path / "out").exists()


def test_the_shop_embeds_and_labels_without_the_workshop(encoder_artifact, classifier_artifact, labelled_folder):
    picture = next(labelled_folder.glob("*.png"))
    program = f"""
import sys, penjing
from pathlib import Path
print(penjing.load({str(encoder_artifact)!r}).embed(["a red cat", "a dog"]).shape)
print(penjing.load({str(classifier_artifact)!r}).classify([Path({str(picture)!r})])[0].label[:6])
print([name for name in ("torch", "transformers", "onnx", "safetensors") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == ["(2, 64)", "LABEL_", "[]"], done.stderr


def test_cards_name_the_task_of_the_hub(encoder_artifact, classifier_artifact):
    for folder, tag in ((encoder_artifact, "feature-extraction"), (classifier_artifact, "image-classification")):
        assert f"pipeline_tag: {tag}\n" in (folder / "README.md").read_text()


REFUSED = {
    "no text": ({"label": "a"}, "has no text"),
    "a score without a second text": ({"text": "a cat", "score": 1}, "has no 'text2'"),
    "a score that is no number": (
        {"text": "a cat", "text2": "a dog", "score": "high"},
        "the score 'high' is no number",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_rows_that_cannot_judge(case, encoder_folder, tmp_path, penjing, untouched):
    values, message = REFUSED[case]
    lines = [json.dumps({**values, "answer": str(place)}) + "\n" for place in range(40)]
    (tmp_path / "bad.jsonl").write_text("".join(lines))
    untouched()
    for command in (("compress", encoder_folder, "-o", tmp_path / "out"), ("evaluate", encoder_folder)):
        assert message in penjing(*command, "--data", tmp_path / "bad.jsonl").check_refused()[0]
    untouched()


def test_pictures_are_no_texts(encoder_folder, labelled_folder, tmp_path, penjing):
    found = penjing("compress", encoder_folder, "-o", tmp_path / "out", "--data", labelled_folder)
    assert "has no text" in found.check_refused()[0]
    found = penjing("compress", encoder_folder, "-o", tmp_path / "out", "--calibration", labelled_folder)
    assert "has no text" in found.check_refused()[0]


def test_a_stage_that_would_change_the_vectors(encoder_folder, tmp_path, penjing):
    shutil.copytree(encoder_folder, tmp_path / "dense")
    write_stages(tmp_path / "dense", {"pooling_mode_mean_tokens": True}, ("Pooling", "Dense", "Normalize"))
    message, hint = penjing("compress", tmp_path / "dense", "-o", tmp_path / "out").check_refused()
    assert "a stage 'Dense'" in message
    assert "modules.json" in hint


def test_an_encoder_without_its_tokenizer(encoder_folder, tmp_path, penjing):
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in ("config.json", "model.safetensors"):
        shutil.copyfile(encoder_folder / name, bare / name)
    assert "no tokenizer.json" in penjing("compress", bare, "-o", tmp_path / "out").check_refused()[0]
