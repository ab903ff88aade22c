"""Runners of encoders and classifiers: pooling against a plain loop, labels against softmax, what they refuse."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers

from penjing.data.row import Row
from penjing.errors import ArtifactError, DataError
from penjing.runtimes.classifier import ClassifierRunner
from penjing.runtimes.encoder import EncoderRunner

pytestmark = pytest.mark.shop
WORDS = ["[PAD]", "red", "blue", "bus", "cat", "rain"]


@pytest.fixture
def tokenizer_path(tmp_path: Path) -> Path:
    made = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, "[PAD]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.save(str(tmp_path / "tokenizer.json"))
    return tmp_path / "tokenizer.json"


def text_settings(*inputs: str, side: str = "right") -> dict:
    return {
        "inputs": list(inputs), "max_length": 8, "padding": "longest", "pad_id": 0, "pad_token": "[PAD]",
        "pad_side": side, "lower": False,
    }  # fmt: skip


class Hidden:
    """Gives every token a vector that depends on it and on its place, padding a large one."""

    def __init__(self) -> None:
        self.batches: list[tuple[int, ...]] = []

    def __call__(self, arrays):
        ids = arrays["input_ids"]
        self.batches.append(ids.shape)
        hidden = np.stack([ids, ids**2 - 4, np.broadcast_to(np.arange(ids.shape[1]), ids.shape)], -1).astype(np.float32)
        hidden[arrays["attention_mask"] == 0] = 1000
        return {"last_hidden_state": hidden}


def encoder(tokenizer_path: Path, pooling: str = "mean", side: str = "right") -> EncoderRunner:
    text = text_settings("input_ids", "attention_mask", side=side)
    return EncoderRunner(Hidden(), {"text": text, "pooling": pooling}, tokenizer_path)


def by_hand(text: str, pooling: str, before: int) -> list[float]:
    """The same in a plain loop over the words; `before` is the padding in front."""
    vectors = [
        (WORDS.index(word), WORDS.index(word) ** 2 - 4, before + place) for place, word in enumerate(text.split())
    ]
    pooled = {
        "mean": [sum(column) / len(vectors) for column in zip(*vectors, strict=True)],
        "cls": [*vectors[0]],
        "max": [max(column) for column in zip(*vectors, strict=True)],
    }[pooling]
    length = math.sqrt(sum(value**2 for value in pooled))
    return [value / length for value in pooled]


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("pooling", ["mean", "cls", "max"])
def test_pooling_leaves_padding_out(pooling, side, tokenizer_path):
    texts = ["red cat rain blue bus", "blue bus"]
    found = encoder(tokenizer_path, pooling, side).embed(texts)
    assert found[0].tolist() == pytest.approx(by_hand(texts[0], pooling, 0), abs=1e-5)
    assert found[1].tolist() == pytest.approx(by_hand(texts[1], pooling, 3 if side == "left" else 0), abs=1e-5)
    assert np.allclose(np.linalg.norm(found, axis=1), 1)


def test_many_texts_are_embedded_in_order_and_in_parts(tokenizer_path):
    runner = encoder(tokenizer_path)
    texts = [WORDS[1 + place % 5] + " bus" for place in range(40)]
    together, alone = runner.embed_texts(texts), np.concatenate([runner.embed_texts([text]) for text in texts])
    assert np.allclose(together, alone, atol=1e-6)
    assert runner._graph.batches[:3] == [(16, 8), (16, 8), (8, 8)]  # two words each, in lengths of eights


def test_rows_are_embedded_by_their_text(tokenizer_path):
    runner = encoder(tokenizer_path)
    assert np.array_equal(runner.embed_rows([Row("1", {"text": "red", "text2": "x"})]), runner.embed(["red"], "text"))
    with pytest.raises(DataError, match="row '2' has no text"):
        runner.embed_rows([Row("2", {"label": "red"})])


@pytest.mark.parametrize(
    ("items", "modality", "message"),
    [
        ("red", None, "takes a list"),
        ([], None, "no items to embed"),
        ([Path("a.png")], None, "is no text"),
        (["red"], "image", "no modality called 'image'"),
    ],
)
def test_what_an_encoder_does_not_embed(items, modality, message, tokenizer_path):
    with pytest.raises(DataError, match=message):
        encoder(tokenizer_path).embed(items, modality)


def test_pooling_of_a_later_penjing(tokenizer_path):
    with pytest.raises(ArtifactError, match="unknown pooling 'men'") as caught:
        encoder(tokenizer_path, "men")
    assert caught.value.hint == "did you mean 'mean'?"


class Judge:
    """Logits by the first token and by the token types, or by the mean red of a picture."""

    def __call__(self, arrays):
        if "pixel_values" in arrays:
            red = arrays["pixel_values"][:, 0].mean(axis=(1, 2))
            return {"logits": np.stack([red, 1 - red, 0 * red], 1).astype(np.float32)}
        first, second = arrays["input_ids"][:, 0] == 1, arrays["token_type_ids"].sum(axis=1)
        return {"logits": np.stack([2.0 * first, 1.0 * ~first, second], 1).astype(np.float32)}


@pytest.fixture
def reader(tokenizer_path) -> ClassifierRunner:
    text = text_settings("input_ids", "attention_mask", "token_type_ids")
    return ClassifierRunner(Judge(), {"labels": ["warm", "cold", "both"], "text": text}, tokenizer_path)


@pytest.fixture
def viewer(tokenizer_path) -> ClassifierRunner:
    image = {"resize": {"width": 4, "height": 4}, "resample": "bicubic", "crop": None, "scale": 1 / 255}
    settings = {"labels": ["red", "blue", "red"], "image": {**image, "mean": None, "std": None}}
    return ClassifierRunner(Judge(), settings, tokenizer_path)


def test_labels_come_with_their_probability(reader):
    first, second = reader.classify(["red bus", "cat"])
    assert (first.label, second.label) == ("warm", "cold")
    total = math.exp(2) + 2
    assert first.probability == pytest.approx(math.exp(2) / total)
    assert [label for label, _ in first.ranking] == ["warm", "cold", "both"]
    assert sum(share for _, share in first.ranking) == pytest.approx(1)
    assert reader.logits(["red"]).tolist() == [[2, 0, 0]]


def test_pairs_are_read_as_one(reader):
    (found,) = reader.classify([("red", "blue cat rain")])
    assert found.label == "both"
    assert reader.classify_row(Row("1", {"text": "red", "text2": "blue cat rain"})) == found


def test_pictures_by_path_bytes_or_image(viewer, tmp_path):
    Image.new("RGB", (9, 5), "red").save(tmp_path / "red.png")
    blue = Image.new("RGB", (5, 9), "blue")
    found = viewer.classify([tmp_path / "red.png", (tmp_path / "red.png").read_bytes(), blue])
    assert [one.label for one in found] == ["red", "red", "blue"]
    assert viewer.classify_row(Row("1", {"label": "x"}, "image", tmp_path / "red.png")) == found[0]


def test_two_classes_of_one_name_stay_two(viewer):
    assert len(viewer.classify([Image.new("RGB", (9, 5), "red")])[0].ranking) == 3


def test_what_a_classifier_does_not_take(reader, viewer):
    with pytest.raises(DataError, match="classify takes a list"):
        reader.classify("red")
    with pytest.raises(DataError, match="no items to classify"):
        viewer.classify([])
    with pytest.raises(DataError, match="is no text"):
        reader.classify([Path("a.png")])
    with pytest.raises(DataError, match="is no picture"):
        viewer.classify([("red", "blue")])
    with pytest.raises(DataError, match="row '3' has no text"):
        reader.classify_row(Row("3", {"label": "x"}, "image", b"png"))
    with pytest.raises(DataError, match="row '3' has no image"):
        viewer.classify_row(Row("3", {"text": "x"}))


def test_synthetic_runs_work(reader, viewer, tokenizer_path):
    for runner in (reader, viewer, encoder(tokenizer_path)):
        assert runner.run_synthetic() is None
