"""Rows of pictures are dealt to captions and answers, and each is scored by itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from penjing.data.row import Row
from penjing.errors import DataError
from penjing.judge.quality import check_answers, judge, metric_names
from penjing.judge.speed import item_latencies

ONE, OTHER = Path("one.png"), Path("other.png")
ROWS = [
    Row("one", {"text": "a red star"}, "image", ONE),
    Row("one#2", {"text": "a star that is red"}, "image", ONE),
    Row("asked", {"question": "what colour?", "answer": "red"}, "image", ONE),
    Row("other", {"text": "two blue circles"}, "image", OTHER),
]


class Runner:
    """Says what it is told to."""

    def __init__(self, task: str = "image-text-to-text") -> None:
        self.task = task
        self.calls: list[object] = []

    def caption(self, image: Path) -> str:
        self.calls.append(image)
        return "a star that is red" if image == ONE else "two blue circles"

    def ask(self, image: Path, question: str) -> str:
        self.calls.append(question)
        return "Red."


def test_captions_of_one_picture_are_references_together():
    runner = Runner()
    told: list[tuple[int, int]] = []
    found = judge(runner, ROWS, lambda done, total: told.append((done, total)))
    assert runner.calls == [ONE, OTHER, "what colour?"]
    assert told == [(1, 3), (2, 3), (3, 3)]
    assert {name: score.value for name, score in found.scores.items()} == pytest.approx(
        {"caption/bleu": 100, "caption/chrf": 100, "vqa/accuracy": 1}
    )
    assert tuple(found.scores) == metric_names(runner.task, ROWS)
    assert found.transcripts["asked"] == ("red", "Red.")


@pytest.mark.parametrize(
    ("task", "metrics"),
    [("image-to-text", ("caption/bleu", "caption/chrf")), ("visual-question-answering", ("vqa/accuracy",))],
)
def test_a_model_of_one_use_is_judged_by_it_alone(task, metrics):
    assert metric_names(task, ROWS) == metrics
    assert tuple(judge(Runner(task), ROWS).scores) == metrics


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (Row("a", {"text": "a star"}), "row 'a' has no 'image'"),
        (Row("a", {"question": "what?"}, "image", ONE), "row 'a' has no 'answer'"),
        (Row("a", {}, "image", ONE), "row 'a' has no 'text'"),
        (Row("a", {"text": "hello"}, "audio", Path("a.wav")), "row 'a' has no 'image'"),
    ],
)
def test_a_row_that_is_for_nothing_is_refused(row, message):
    with pytest.raises(DataError, match=message):
        check_answers("image-text-to-text", [*ROWS, row])


def test_rows_of_the_other_use_alone_are_refused():
    with pytest.raises(DataError, match="no row to judge visual-question-answering by"):
        check_answers("visual-question-answering", ROWS[:2])


def test_items_are_timed_on_rows_of_its_use():
    runner = Runner("visual-question-answering")
    item_latencies({"it": runner}, ROWS, 1, rounds=2)
    assert set(runner.calls) == {"what colour?"}
