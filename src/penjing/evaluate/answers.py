"""What is said about pictures: captions by BLEU and chrF, answers by exact match."""

from __future__ import annotations

import re
import string
from collections.abc import Sequence
from typing import Any

import numpy as np

from penjing.evaluate.interval import Floats, ItemScores

ORDER = 4
"""Longest n-gram of BLEU."""
ARTICLES = frozenset({"a", "an", "the"})
DIGITS = {
    word: str(number)
    for number, word in enumerate(
        ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
    )
}
DIGITS["none"] = "0"
BETWEEN_DIGITS = re.compile(r"(?<=\d),(?=\d)")
PUNCTUATION = re.compile(f"[{re.escape(string.punctuation.replace('.', ''))}]|\\.(?!\\d)")


def caption_scores(captions: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, ItemScores]:
    """BLEU of all captions together and the mean of the captions' chrF, 0 to 100, each against all its references.

    Counted by sacrebleu in lower case: tokenization 13a and exponential smoothing for BLEU (arXiv:1804.08771), chrF2
    without word n-grams (Popović, 2015).
    """
    from sacrebleu.metrics import BLEU, CHRF

    bleu, chrf = BLEU(lowercase=True, effective_order=True), CHRF(lowercase=True)
    pairs = list(zip(captions, references, strict=True))
    counted = [_counts(bleu.sentence_score(said, [*told])) for said, told in pairs]
    likeness = [chrf.sentence_score(said, [*told]).score for said, told in pairs]
    return {
        "bleu": ItemScores("bleu", np.array(counted), np.ones(len(counted)), corpus_bleu),
        "chrf": ItemScores.mean_of("chrf", likeness),
    }


def _counts(score: Any) -> list[float]:
    """What a sentence adds to BLEU: matched n-grams, all n-grams, its length and that of its nearest reference."""
    return [*map(float, (*score.counts, *score.totals, score.sys_len, score.ref_len))]


def corpus_bleu(numerator: Floats, denominator: Floats) -> Floats:
    """BLEU from sums of counts: numerator (..., items, 2 · ORDER + 2) -> (...).

    An n-gram order without a match counts half of what the last such order did; longer texts than the references are
    not punished, shorter ones by exp(1 - references / length).
    """
    sums = numerator.sum(axis=-2)
    matched, total = sums[..., :ORDER], sums[..., ORDER : 2 * ORDER]
    length, wanted = sums[..., -2], sums[..., -1]
    missed = np.where(total > 0, matched == 0, False)
    smoothed = np.where(missed, 0.5 ** np.cumsum(missed, axis=-1), matched)
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(smoothed / total)
        brevity = np.where(length < wanted, np.exp(1 - wanted / length), 1.0)
        score = 100 * brevity * np.exp(logs.mean(axis=-1))
    some = (matched[..., 0] > 0) & (total > 0).all(axis=-1)
    return np.asarray(np.where(some, score, 0.0))


def answer_scores(answers: Sequence[str], wanted: Sequence[str]) -> dict[str, ItemScores]:
    """Share of answers that are the wanted ones after `normalise_answer`."""
    hits = [normalise_answer(said) == normalise_answer(told) for said, told in zip(answers, wanted, strict=True)]
    return {"accuracy": ItemScores.mean_of("accuracy", hits)}


def normalise_answer(answer: str) -> str:
    """An answer as the VQA challenge compares it (arXiv:1505.00468): lower case, no punctuation but a decimal point,
    no articles, numbers up to ten as digits.
    """
    plain = PUNCTUATION.sub(" ", BETWEEN_DIGITS.sub("", answer.lower()).replace("'", ""))
    words = [DIGITS.get(word, word) for word in plain.split()]
    return " ".join(word for word in words if word not in ARTICLES)
