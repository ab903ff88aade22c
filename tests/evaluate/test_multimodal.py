"""Metrics of many modalities against what can be counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from penjing.data.row import Row
from penjing.evaluate.multimodal import evaluate_answers, evaluate_directions, evaluate_truth
from penjing.scenes.captions import caption
from penjing.scenes.scene import imagine

pytestmark = pytest.mark.shop
WAYS = [f"{a}_to_{b}" for a in ("image", "text", "audio") for b in ("image", "text", "audio") if a != b]


def test_every_direction_is_scored_and_their_mean():
    image = np.eye(4)
    text = image[[0, 1, 3, 2]]  # two of four texts lie where another's picture does
    found = evaluate_directions({"image": image, "text": text, "audio": image})
    values = {name: score.value for name, score in found.items()}
    assert values["image_to_text_recall_at_1"] == values["text_to_image_recall_at_1"] == 0.5
    assert values["image_to_audio_recall_at_1"] == values["audio_to_image_recall_at_1"] == 1.0
    assert values["recall_at_1"] == pytest.approx(np.mean([values[f"{way}_recall_at_1"] for way in WAYS]))
    assert values["recall_at_5"] == 1.0
    assert len(found["recall_at_1"].numerator) == 4


def test_two_modalities_will_do():
    found = evaluate_directions({"text": np.eye(3), "audio": np.eye(3)})
    assert "text_to_audio_recall_at_1" in found
    assert not [name for name in found if "image" in name]


def test_answers_must_match_whatever_their_case():
    rows = [Row("a", {"answer": "red star"}), Row("b", {"answer": "two"}), Row("c", {"answer": "yes"})]
    assert evaluate_answers([" Red star ", "three", "yes"], rows)["accuracy"].value == pytest.approx(2 / 3)


def test_a_caption_counts_only_if_all_of_it_is_true():
    scenes = [imagine(seed) for seed in (1, 3, 4)]
    rows = [Row(str(scene.seed), {"scene": scene.as_json()}) for scene in scenes]
    told = [caption(scenes[0]), caption(scenes[1]).replace("orange", "blue"), "a picture"]
    assert evaluate_truth(told, rows)["truth"].numerator.tolist() == [1.0, 0.0, 0.0]
