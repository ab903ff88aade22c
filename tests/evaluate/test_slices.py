"""Slices of the data: which there are, what they lost, when they refuse."""

from __future__ import annotations

import numpy as np
import pytest

from penjing.data.row import Row
from penjing.evaluate.goals import Goal
from penjing.evaluate.interval import ItemScores, exp_ratio
from penjing.evaluate.slices import MIN_SLICE_ITEMS, judge_slices, slice_result, slices_of
from penjing.evaluate.tolerance import tolerance_of

pytestmark = pytest.mark.shop

WER = tolerance_of(Goal.parse("wer<=+0.01"))


def rows(count: int, **columns: list[str]) -> list[Row]:
    return [Row(f"r{n}", {name: values[n] for name, values in columns.items()}) for n in range(count)]


def scores(name: str, errors: list[float], words: float = 10.0) -> dict[str, ItemScores]:
    ids = [f"r{n}" for n in range(len(errors))]
    found = ItemScores(name, np.array(errors, float), np.full(len(errors), words)).of_rows(ids)
    return {name: found}


def test_a_column_of_one_value_slices_nothing():
    assert slices_of(rows(4, language=["en"] * 4)) == {}


def test_every_value_of_a_column_is_a_slice():
    found = slices_of(rows(4, language=["en", "de", "en", "de"], source=["people"] * 4))
    assert found == {("language", "de"): frozenset({"r1", "r3"}), ("language", "en"): frozenset({"r0", "r2"})}


def test_rows_without_the_column_make_the_others_a_slice():
    data = [*rows(2, speaker=["new", "new"]), Row("r2", {"text": "a"})]
    assert slices_of(data) == {("speaker", "new"): frozenset({"r0", "r1"})}


def test_a_ruined_language_refuses_although_the_mean_is_fine():
    languages = ["en"] * 90 + ["de"] * 10
    before, after = scores("wer", [1.0] * 100), scores("wer", [1.0] * 90 + [2.0] * 10)
    assert after["wer"].value - before["wer"].value == pytest.approx(0.01)  # within the tolerance
    judged, small = judge_slices([WER], before, after, slices_of(rows(100, language=languages)))
    assert small == []
    assert {slice_.value: slice_.refused for slice_ in judged} == {"de": True, "en": False}
    german = next(slice_ for slice_ in judged if slice_.value == "de")
    assert german.loss == pytest.approx(0.1)
    assert "language de" in german.reason()
    assert "0.1" in german.reason()


def test_a_loss_that_one_item_alone_makes_does_not_refuse():
    languages = ["en"] * 10 + ["de"] * 10
    before, after = scores("wer", [1.0] * 20), scores("wer", [1.0] * 19 + [9.0])
    judged, _ = judge_slices([WER], before, after, slices_of(rows(20, language=languages)))
    german = next(slice_ for slice_ in judged if slice_.value == "de")
    assert german.loss > german.allowed
    assert german.low <= 0.01
    assert not german.refused


def test_slices_of_few_rows_are_named_and_not_judged():
    few = MIN_SLICE_ITEMS - 1
    data = rows(20, speaker=["a"] * (20 - few) + ["b"] * few)
    judged, small = judge_slices([WER], scores("wer", [0.0] * 20), scores("wer", [9.0] * 20), slices_of(data))
    assert [slice_.value for slice_ in judged] == ["a"]
    assert small == ["speaker b"]


def test_losses_of_accuracy_are_positive_and_their_interval_is_ordered():
    before, after = scores("accuracy", [1.0] * 10, 1.0), scores("accuracy", [1.0] * 5 + [0.0] * 5, 1.0)
    found = slice_result(("label", "cat"), "accuracy", before, after, frozenset(f"r{n}" for n in range(10)))
    assert found.loss == pytest.approx(0.5)
    assert 0.1 < found.low <= found.loss <= found.high < 0.9


def test_a_relative_tolerance_counts_from_the_slice_of_the_source():
    def language(nats: float) -> dict[str, ItemScores]:
        found = ItemScores("perplexity", np.full(20, nats), np.ones(20), exp_ratio)
        return {"perplexity": found.of_rows([f"r{n}" for n in range(20)])}

    data = rows(20, source=["news"] * 10 + ["code"] * 10)
    tolerance = tolerance_of(Goal.parse("perplexity<=+2%"))
    judged, _ = judge_slices([tolerance], language(np.log(20.0)), language(np.log(21.0)), slices_of(data))
    assert [slice_.allowed for slice_ in judged] == [pytest.approx(1.2)] * 2
    assert not any(slice_.refused for slice_ in judged)
    judged, _ = judge_slices([tolerance], language(np.log(20.0)), language(np.log(22.0)), slices_of(data))
    assert all(slice_.refused for slice_ in judged)


def test_the_cosine_to_the_source_is_compared_with_one():
    data = rows(12, source=["a"] * 6 + ["b"] * 6)
    after = {"cosine": ItemScores.mean_of("cosine", [0.999] * 6 + [0.9] * 6).of_rows([row.id for row in data])}
    judged, _ = judge_slices([tolerance_of(Goal.parse("cosine>=0.99"))], {}, after, slices_of(data))
    assert {slice_.value: slice_.refused for slice_ in judged} == {"a": False, "b": True}


def test_a_metric_that_is_no_number_refuses():
    before, after = scores("wer", [1.0] * 12), scores("wer", [float("nan")] * 12)
    judged, _ = judge_slices([WER], before, after, slices_of(rows(12, language=["en"] * 6 + ["de"] * 6)))
    assert all(slice_.refused for slice_ in judged)


def test_a_subset_keeps_the_statistic_and_its_rows():
    found = ItemScores("bleu", np.arange(20.0).reshape(2, 10), np.ones(2)).of_rows(["a", "b"]).subset({"b"})
    assert found.numerator.shape == (1, 10)
    assert found.row_ids == ("b",)
    with pytest.raises(ValueError, match="2 items, not 1"):
        ItemScores.mean_of("wer", [0.0, 1.0]).of_rows(["a"])
