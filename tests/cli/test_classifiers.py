"""Classifiers from checkpoint to labels: compressed, judged by accuracy, asked."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import penjing as package
from penjing.artifact.manifest import read_manifest
from penjing.data.image import read_image
from tiny_encoders import LABELS, resnet, save_text_classifier, tokenizer


def test_the_source_is_always_right_and_the_result_nearly(classifier_artifact):
    manifest = read_manifest(classifier_artifact)
    assert manifest["task"] == "classifier"
    assert manifest["settings"]["labels"] == ["LABEL_0", "LABEL_1", "LABEL_2"]
    assert manifest["source"]["metrics"]["accuracy"]["value"] == 1.0
    assert manifest["result"]["metrics"]["accuracy"]["value"] >= 0.8
    assert manifest["result"]["p50_ms"] > 0
    methods = {row["kind"]: row["method"] for row in manifest["coverage"] if row["tower"] == "image"}
    assert methods == {"conv": "static_int8"}


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_the_artifact_names_pictures(engine, classifier_artifact, labelled_folder):
    import transformers

    files = sorted(labelled_folder.glob("*.png"))[:8]
    theirs = transformers.ConvNextImageProcessorPil(size={"shortest_edge": 64}, crop_pct=0.875)
    pixels = np.concatenate([theirs(read_image(file), return_tensors="np")["pixel_values"] for file in files])
    with torch.no_grad():
        shares = resnet()(pixel_values=torch.from_numpy(pixels)).logits.softmax(-1)
    runner = package.load(classifier_artifact, engine)
    found = runner.classify(files)
    ours = np.array([[dict(one.ranking)[label] for label in runner.labels] for one in found])
    assert np.abs(ours - shares.numpy()).max() < 0.15
    assert sum(one.label == f"LABEL_{int(row.argmax())}" for one, row in zip(found, shares, strict=True)) >= 7


def test_evaluate_inspect_and_report(classifier_artifact, classifier_folder, labelled_folder, penjing):
    asked = ("--data", labelled_folder, "--against", classifier_folder, "--engine", "onnxruntime")
    found = penjing("evaluate", classifier_artifact, *asked).json
    assert found["measures"]["metrics"]["accuracy"]["n"] == 80
    assert found["against"]["metrics"]["accuracy"]["value"] == 1.0
    for one in (classifier_folder, classifier_artifact):
        assert penjing("inspect", one).json["family"] == "classifier"
    assert "accuracy" in penjing("report", classifier_artifact, as_json=False).out


def test_without_data_outputs_are_compared(classifier_folder, tmp_path, penjing):
    found = penjing("compress", classifier_folder, "-o", tmp_path / "out", "--engine", "onnxruntime").json
    assert set(found["result"]["metrics"]) == {"cosine", "logit_kl"}
    assert found["result"]["metrics"]["cosine"]["value"] > 0.99


@pytest.fixture(scope="module")
def sentences(tmp_path_factory, pairs_file):
    """Pairs of texts labelled by the tiny classifier of texts itself, and the folder of that classifier."""
    import transformers

    folder = save_text_classifier(tmp_path_factory.mktemp("models") / "moods")
    net = transformers.BertForSequenceClassification.from_pretrained(folder).eval()
    lines = []
    for place, line in enumerate(pairs_file.read_text().splitlines()):
        row = json.loads(line)
        texts = (row["sentence1"], row["sentence2"]) if place % 2 else (row["sentence1"],)
        inputs = tokenizer()(*texts, return_tensors="pt", return_token_type_ids=True)
        with torch.no_grad():
            label = int(net(**inputs).logits.argmax())
        names = dict(zip(("text", "text2"), texts, strict=False))
        lines.append({**names, "label": LABELS[label] if place % 3 else label})
    path = tmp_path_factory.mktemp("data") / "moods.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder, path


def test_texts_and_pairs_of_texts(sentences, tmp_path, penjing):
    folder, data = sentences
    out = tmp_path / "out"
    goals = ("--goal", "accuracy>=-0.2", "--goal", "size_bytes<=60%")
    found = penjing("compress", folder, "-o", out, "--data", data, *goals, "--engine", "onnxruntime").json
    assert found["source"]["metrics"]["accuracy"]["value"] == 1.0
    assert "pipeline_tag: text-classification\n" in (out / "README.md").read_text()
    rows = [json.loads(line) for line in data.read_text().splitlines()]
    runner = package.load(out, "openvino")
    said = runner.classify([(row["text"], row["text2"]) if "text2" in row else row["text"] for row in rows])
    wanted = [LABELS[row["label"]] if isinstance(row["label"], int) else row["label"] for row in rows]
    assert np.mean([one.label == label for one, label in zip(said, wanted, strict=True)]) >= 0.8


def test_a_label_the_model_does_not_know(sentences, tmp_path, penjing, untouched):
    folder, _ = sentences
    lines = [json.dumps({"text": f"cat {place}", "label": "clam"}) + "\n" for place in range(40)]
    (tmp_path / "bad.jsonl").write_text("".join(lines))
    untouched()
    for command in (("compress", folder, "-o", tmp_path / "out"), ("evaluate", folder)):
        message, hint = penjing(*command, "--data", tmp_path / "bad.jsonl").check_refused()
        assert "the model knows no label 'clam'" in message
        assert hint == "did you mean 'calm'?"
    untouched()


def test_data_of_the_wrong_kind(classifier_folder, sentences, labelled_folder, sound_folder, tmp_path, penjing):
    folder, texts = sentences
    out = tmp_path / "out"
    for data in (texts, sound_folder):
        for option in ("--data", "--calibration"):
            assert "has no image" in penjing("compress", classifier_folder, "-o", out, option, data).check_refused()[0]
        assert "has no image" in penjing("evaluate", classifier_folder, "--data", data).check_refused()[0]
    for command in (("compress", folder, "-o", out), ("evaluate", folder)):
        assert "has no text" in penjing(*command, "--data", labelled_folder).check_refused()[0]
    assert "has no text" in penjing("compress", folder, "-o", out, "--calibration", labelled_folder).check_refused()[0]


def test_rows_without_a_label(classifier_folder, picture_folder, tmp_path, penjing):
    assert "has no 'label'" in penjing("evaluate", classifier_folder, "--data", picture_folder).check_refused()[0]


def test_a_classifier_of_pictures_without_its_processor(classifier_folder, tmp_path, penjing):
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in ("config.json", "model.safetensors"):
        (bare / name).write_bytes((classifier_folder / name).read_bytes())
    message, hint = penjing("compress", bare, "-o", tmp_path / "out").check_refused()
    assert "no preprocessor_config.json" in message
    assert "--format checkpoint" in hint
