"""Tasks run by plain functions: what is scored, in which order, and who is told of the progress."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from penjing.data.row import Row
from penjing.errors import DataError
from penjing.evaluate.tasks import evaluate_classification, evaluate_retrieval, evaluate_speech, evaluate_zero_shot

pytestmark = pytest.mark.shop


def speech_rows() -> list[Row]:
    return [
        Row("a", {"text": "Hello, world!"}, "audio", b""),
        Row("b", {"text": "Guten Tag", "language": "de"}, "audio", b""),
        Row("c", {"text": ""}, "audio", b""),
    ]


def test_speech_is_scored_against_its_text():
    heard = {"a": "hello word", "b": "guten tag", "c": ""}
    told: list[tuple[int, int]] = []
    found = evaluate_speech(lambda row: heard[row.id], speech_rows(), "en", lambda *step: told.append(step))
    assert found.scores["wer"].value == pytest.approx(1 / 4)
    assert set(found.scores) == {"wer", "cer"}
    assert [(item.id, item.reference, item.hypothesis) for item in found.transcripts] == [
        ("a", "Hello, world!", "hello word"),
        ("b", "Guten Tag", "guten tag"),
        ("c", "", ""),
    ]
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_a_row_is_normalised_in_its_own_language():
    rows = [Row("a", {"text": "one"}), Row("b", {"text": "one", "language": "de"})]
    assert evaluate_speech(lambda row: "1", rows, "en").scores["wer"].numerator.tolist() == [0, 1]


def test_a_row_without_text_is_named():
    with pytest.raises(DataError, match="row 'x' has no 'text'"):
        evaluate_speech(lambda row: "", [Row("x")])


def picture(name: str, text: str, number: int) -> Row:
    return Row(f"{name}-{number}", {"text": text, "label": text}, "image", Path(name))


COLOURS = {"red": [1.0, 0.0, 0.0], "green": [0.0, 1.0, 0.0], "blue": [0.0, 0.0, 1.0]}


def embed_texts(texts):
    return np.array([COLOURS[text.split()[-1]] for text in texts])


def embed_rows(rows):
    return np.array([COLOURS[str(row.file).partition("_")[0]] for row in rows])


def test_retrieval_counts_equal_texts_and_shared_files_once():
    rows = [picture(f"{colour}_{i}", f"a {colour}", i) for colour in COLOURS for i in range(3)] + [
        picture("red_0", "red", 9)
    ]
    seen: list[int] = []
    told: list[tuple[int, int]] = []

    def embed(batch):
        seen.append(len(batch))
        return embed_rows(batch)

    found = evaluate_retrieval(embed, embed_texts, rows, batch=4, progress=lambda *step: told.append(step))
    assert seen == [4, 4, 1]
    assert told[-1] == (13, 13)
    assert found["text_to_image_recall_at_1"].numerator.shape == (4,)
    assert found["image_to_text_recall_at_1"].numerator.shape == (9,)
    assert found["text_to_image_recall_at_1"].value == 0.75
    assert found["text_to_image_recall_at_5"].value == 1.0


def test_retrieval_takes_its_name_from_the_media():
    rows = [Row("a", {"text": "red"}, "audio", b"x"), Row("b", {"text": "blue"}, "audio", b"x")]
    vectors = {"a": COLOURS["red"], "b": COLOURS["blue"]}
    found = evaluate_retrieval(lambda batch: np.array([vectors[row.id] for row in batch]), embed_texts, rows)
    assert found["audio_to_text_recall_at_1"].value == 1.0
    assert "image_to_text_recall_at_1" not in found


def test_zero_shot_names_the_nearest_label():
    rows = [picture("red_1", "red", 1), picture("green_1", "green", 2), picture("red_2", "blue", 3)]
    texts: list[str] = []

    def embed(batch):
        texts.extend(batch)
        return embed_texts(batch)

    found = evaluate_zero_shot(embed_rows, embed, rows, template="a photo of {}")
    assert texts == ["a photo of red", "a photo of green", "a photo of blue"]
    assert found["accuracy"].numerator.tolist() == [1, 1, 0]


def test_classification_compares_labels():
    rows = [picture("red_1", "red", 1), picture("green_1", "green", 2)]
    told: list[tuple[int, int]] = []
    found = evaluate_classification(lambda row: "red", rows, lambda *step: told.append(step))
    assert found["accuracy"].value == 0.5
    assert told == [(1, 2), (2, 2)]


def test_no_rows_are_bad_data():
    with pytest.raises(DataError, match="nothing to judge"):
        evaluate_retrieval(embed_rows, embed_texts, [])
