"""Marked words: what was heard otherwise, what was lost, and what the scoring ignores."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penjing.report.transcripts import pieces

pytestmark = pytest.mark.shop


def marked(reference: str, heard: str, language: str = "en") -> str:
    marks = {"same": "{}", "wrong": "[{}]", "missing": "({})"}
    return " ".join(marks[piece.kind].format(piece.text) for piece in pieces(reference, heard, language))


@pytest.mark.parametrize(
    ("reference", "heard", "expected"),
    [
        ("a cat sat", "a bat sat", "a [bat] sat"),
        ("a cat sat", "a sat", "a (cat) sat"),
        ("a sat", "a cat sat", "a [cat] sat"),
        ("a cat sat", "", "(a cat sat)"),
        ("", "a cat", "[a cat]"),
        ("", "", ""),
        ("Hello, World!", "hello world", "hello world"),
        ("platform nine", "platform 9", "platform 9"),
        ("wait - what", "wait, what", "wait, what"),
        ("will not go", "won't go", "won't go"),
    ],
)
def test_marks(reference, heard, expected):
    assert marked(reference, heard) == expected


def test_other_languages_keep_their_numbers():
    assert marked("Gleis neun", "Gleis 9", "de") == "Gleis [9]"


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.sampled_from(["one", "two", "red"]), max_size=7),
    st.lists(st.sampled_from(["one", "two", "red"]), max_size=7),
)
def test_no_heard_word_is_lost(said, heard):
    found = pieces(" ".join(said), " ".join(heard), "de")
    assert " ".join(piece.text for piece in found if piece.kind != "missing") == " ".join(heard)
