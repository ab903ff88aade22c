"""Labels of a data set and labels of a model: names, numbers, typos."""

from __future__ import annotations

import pytest

from penjing.data.row import Row
from penjing.errors import DataError
from penjing.evaluate.labels import check_labels, evaluate_labels, named

pytestmark = pytest.mark.shop
LABELS = ["cat", "dog", "tabby, tabby cat"]


def labelled(*labels: str) -> list[Row]:
    return [Row(str(place), {"text": "x", "label": label}) for place, label in enumerate(labels)]


def test_accuracy_counts_names_and_numbers():
    said = iter(["cat", "dog", "cat", "tabby, tabby cat"])
    found = evaluate_labels(lambda row: next(said), LABELS, labelled("cat", "dog", "dog", "2"))
    assert found["accuracy"].numerator.tolist() == [1, 1, 0, 1]


def test_a_name_goes_before_a_number():
    (row,) = labelled("1")
    assert named(row, ["1", "0"]) == "1"
    assert named(row, ["cat", "dog"]) == "dog"


@pytest.mark.parametrize(
    ("rows", "labels", "message", "hint"),
    [
        (labelled("cat", "dgo"), LABELS, "row '1': the model knows no label 'dgo'", "did you mean 'dog'?"),
        (labelled("3"), LABELS, "the model knows no label '3'", "known: cat, dog"),
        (labelled("zebra"), [f"breed {n}" for n in range(100)], "no label 'zebra'", "it knows 100, among them breed 0"),
        ([Row("a", {"text": "x"})], LABELS, "row 'a' has no 'label'", "column 'label'"),
    ],
)
def test_labels_the_model_does_not_know(rows, labels, message, hint):
    with pytest.raises(DataError, match=message) as caught:
        check_labels(rows, labels)
    assert hint in caught.value.hint
