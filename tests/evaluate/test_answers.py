"""Captions and answers: BLEU as sacrebleu counts it, by sums over items; answers as the VQA challenge compares them."""

from __future__ import annotations

import random

import pytest
import sacrebleu

from penjing.evaluate.answers import answer_scores, caption_scores, normalise_answer
from penjing.evaluate.interval import bootstrap, paired_difference

SAID = [
    "a red circle above a blue star",
    "two green squares.",
    "there is a white triangle",
    "nothing",
    "A Red Circle, and a blue one",
]
TOLD = [
    ["a red circle above a blue star", "a circle over a star"],
    ["two green squares and a star in the middle"],
    ["there is a white triangle on the left of a black circle"],
    ["a purple star"],
    ["a red circle and a blue circle", "two circles"],
]


def corpus(said, told):
    """sacrebleu's own corpus score; it wants as many references for each."""
    most = max(len(one) for one in told)
    streams = [[(one * most)[place] for one in told] for place in range(most)]
    return sacrebleu.corpus_bleu(said, streams, lowercase=True).score


def test_bleu_is_sacrebleus():
    assert caption_scores(SAID, TOLD)["bleu"].value == pytest.approx(corpus(SAID, TOLD))


def test_bleu_of_random_words_is_sacrebleus():
    dice = random.Random(0)
    for _ in range(30):
        said = [" ".join(dice.choices("abcd", k=dice.randint(1, 9))) for _ in range(4)]
        told = [[" ".join(dice.choices("abcd", k=dice.randint(1, 9)))] for _ in range(4)]
        assert caption_scores(said, told)["bleu"].value == pytest.approx(corpus(said, told), abs=1e-6)


def test_what_is_right_and_what_is_empty():
    assert caption_scores(SAID[:1], TOLD[:1])["bleu"].value == pytest.approx(100)
    empty = caption_scores(["", ""], TOLD[:2])
    assert empty["bleu"].value == 0
    assert empty["chrf"].value == 0


def test_chrf_is_the_mean_of_the_captions():
    wanted = [
        sacrebleu.sentence_chrf(said.lower(), [one.lower() for one in told]).score
        for said, told in zip(SAID, TOLD, strict=True)
    ]
    assert caption_scores(SAID, TOLD)["chrf"].value == pytest.approx(sum(wanted) / len(wanted))


def test_intervals():
    scores = caption_scores(SAID, TOLD)
    for score in scores.values():
        found = bootstrap(score)
        assert found.low < found.value < found.high
        assert found.n == len(SAID)
    change = paired_difference(scores["bleu"], caption_scores(["nothing"] * len(SAID), TOLD)["bleu"])
    assert change.high < 0


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        ("The red circle.", "red circle"),
        ("Three", "3"),
        ("none", "0"),
        ("1,000.5 stars!", "1000.5 stars"),
        ("yes.", "yes"),
        ("left-hand  side", "left hand side"),
        ("it's", "its"),
        ("an apple a day", "apple day"),
    ],
)
def test_answers_are_compared_in_one_form(said, wanted):
    assert normalise_answer(said) == wanted


def test_accuracy():
    assert answer_scores(["Two", "red", "the left"], ["2", "blue", "left."])["accuracy"].value == pytest.approx(2 / 3)
