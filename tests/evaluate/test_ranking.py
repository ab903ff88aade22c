"""Rank correlation: by hand, against scipy, ties and draws; and how encoders are judged by it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penjing.data.row import Row
from penjing.errors import DataError
from penjing.evaluate.interval import bootstrap, paired_difference
from penjing.evaluate.ranking import ranks, spearman
from penjing.evaluate.sentences import check_scores, evaluate_sentences

pytestmark = pytest.mark.shop
ANGLES = {"north": 0.0, "east": 90.0, "near north": 20.0, "north east": 50.0, "south": 180.0, "lost": np.nan}


def embed(texts):
    angles = np.deg2rad([ANGLES[text] for text in texts])
    return np.stack([np.sin(angles), np.cos(angles)], axis=1).astype(np.float32)


def pairs(*found: tuple[str, str, object]) -> list[Row]:
    columns = ("text", "text2", "score")
    return [
        Row(str(place), {name: str(value) for name, value in zip(columns, one, strict=True)})
        for place, one in enumerate(found)
    ]


def test_ranks_by_hand():
    assert ranks(np.array([30.0, 10.0, 20.0])).tolist() == [3, 1, 2]
    assert ranks(np.array([5.0, 5.0, 1.0, 5.0, 7.0])).tolist() == [3, 3, 1, 3, 5]
    assert ranks(np.array([[2.0, 1.0], [1.0, 1.0]])).tolist() == [[2, 1], [1.5, 1.5]]


def test_spearman_by_hand():
    """1 - 6 Σd² / (n (n² - 1)) where nothing is tied: d = (0, 1, -1, 0)."""
    one, other = np.array([1.0, 2.0, 3.0, 4.0]), np.array([10.0, 30.0, 20.0, 40.0])
    assert float(spearman(one, other)) == pytest.approx(1 - 6 * 2 / (4 * 15))
    assert float(spearman(one, -other)) == pytest.approx(-0.8)
    assert float(spearman(one, np.exp(one))) == pytest.approx(1)


@pytest.mark.parametrize("levels", [3, 1000])
def test_scipy_says_the_same(levels):
    stats = pytest.importorskip("scipy.stats")
    dice = np.random.default_rng(levels)
    one = dice.integers(0, levels, (5, 40)).astype(float)
    other = one + dice.integers(0, levels, (5, 40))
    for row, (left, right) in enumerate(zip(one, other, strict=True)):
        assert ranks(left).tolist() == stats.rankdata(left).tolist()
        assert spearman(one, other)[row] == pytest.approx(stats.spearmanr(left, right).statistic)


@given(st.lists(st.integers(-5, 5), min_size=1, max_size=30))
def test_ranks_always_sum_to_the_same(values):
    count = len(values)
    assert ranks(np.array(values, float)).sum() == pytest.approx(count * (count + 1) / 2)


def test_what_does_not_vary_orders_nothing():
    assert float(spearman(np.ones(4), np.arange(4.0))) == 0.0


def test_an_encoder_that_orders_pairs_as_people_do():
    rows = pairs(("north", "north", 5), ("north", "near north", 4.5), ("north", "east", 2), ("north", "south", "0"))
    scores, vectors = evaluate_sentences(embed, rows)
    assert scores["spearman"].value == pytest.approx(1)
    assert vectors.shape == (4, 4)
    assert np.allclose(vectors[1], [*embed(["north"])[0], *embed(["near north"])[0]])
    assert bootstrap(scores["spearman"]).n == 4


def test_the_change_is_paired():
    rows = pairs(
        *(("north", other, 5 - place) for place, other in enumerate(["north", "near north", "north east"] * 5))
    )
    source, _ = evaluate_sentences(embed, rows)
    ruined, _ = evaluate_sentences(lambda texts: np.ones((len(texts), 2), np.float32), rows)
    change = paired_difference(source["spearman"], ruined["spearman"])
    assert change.value == pytest.approx(-source["spearman"].value)
    assert paired_difference(source["spearman"], source["spearman"]).high == 0


def test_vectors_that_are_no_numbers_order_nothing():
    rows = pairs(("lost", "north", 0), ("lost", "east", 2), ("lost", "south", 5))
    assert evaluate_sentences(embed, rows)[0]["spearman"].value == 0.0


def test_texts_alone_give_vectors_and_progress():
    told = []
    rows = [Row(str(place), {"text": "north"}) for place in range(20)]
    scores, vectors = evaluate_sentences(embed, rows, lambda done, total: told.append((done, total)))
    assert scores == {}
    assert vectors.shape == (20, 2)
    assert told == [(16, 20), (20, 20)]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([Row("a", {"label": "x"})], "row 'a' has no 'text'"),
        ([Row("a", {"text": "x", "score": "1"})], "row 'a' has no 'text2'"),
        ([*pairs(("north", "east", 1)), Row("b", {"text": "x", "text2": "y"})], "row 'b' has no 'score'"),
        (pairs(("north", "east", "much")), "the score 'much' is no number"),
        (pairs(("north", "east", "nan")), "the score 'nan' is no number"),
    ],
)
def test_rows_that_cannot_judge(rows, message):
    with pytest.raises(DataError, match=message) as caught:
        check_scores(rows)
    assert caught.value.hint
