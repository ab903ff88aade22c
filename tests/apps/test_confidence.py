"""What an answer is quoted from, and how sure the desk is of it: the arithmetic alone."""

from __future__ import annotations

import numpy as np
import pytest

from penjing.apps.answering import held, quoted
from penjing.apps.confidence import Confidence
from penjing.apps.retrieval import Found
from penjing.data.knowledge import Passage

pytestmark = pytest.mark.shop


def test_quotes_are_the_sentences_that_share_most():
    text = "We are open. On Monday we rest. Trees are watered daily. The cafe sells cake. Cake is cut on Monday."
    found = [Found(Passage("a", "a", "", text), 1, 1, 1)]
    assert quoted("is cake sold on Monday", found) == "On Monday we rest. The cafe sells cake. Cake is cut on Monday."
    assert held("Cake on Monday", "cake?", found) == 1
    assert held("Elephants fly", "cake?", found) == 0


def test_confidence_is_a_chance():
    made = Confidence(np.zeros(1), np.ones(1), np.array([2.0, 0.0]), 0.5)
    assert made.of(np.zeros(1)) == 0.5
    assert made.of(np.array([1.0])) == pytest.approx(1 / (1 + np.exp(-2)))
