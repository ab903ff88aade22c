"""Word errors against cases counted by hand and against a plain dynamic programme."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penjing.evaluate.words import character_errors, normalise, speech_scores, word_differences, word_errors

pytestmark = pytest.mark.shop


def edit_distance(reference: list[str], hypothesis: list[str]) -> int:
    """Levenshtein distance by the textbook table."""
    row = list(range(len(hypothesis) + 1))
    for i, told in enumerate(reference, 1):
        above = row
        row = [i]
        for j, heard in enumerate(hypothesis, 1):
            row.append(min(above[j] + 1, row[-1] + 1, above[j - 1] + (told != heard)))
    return row[-1]


@pytest.mark.parametrize(
    ("text", "language", "expected"),
    [
        ("Twenty-one cars, colour!", "en", "21 cars color"),
        ("Twenty-one cars, colour!", "en-GB", "21 cars color"),
        ("Mr. Smith won't pay $5.50.", "en", "mister smith will not pay $5.50"),
        ("Zwölf Grüße: Café!", "de", "zwölf grüße café"),
        ("Zwölf Grüße: Café!", "", "zwölf grüße café"),
        ("你好，世界", "zh", "你 好 世 界"),
        ("  ", "en", ""),
    ],
)
def test_texts_are_compared_in_whispers_normal_form(text, language, expected):
    assert normalise(text, language) == expected


@pytest.mark.parametrize(
    ("reference", "hypothesis", "errors", "words"),
    [
        ("the cat sat", "the cat sat", 0, 3),
        ("the cat sat", "the bat sat", 1, 3),
        ("the cat sat", "cat sat down", 2, 3),
        ("the cat sat", "", 3, 3),
        ("", "the cat", 2, 0),
        ("", "", 0, 0),
    ],
)
def test_word_errors_by_hand(reference, hypothesis, errors, words):
    counted, length = word_errors([reference], [hypothesis])
    assert (counted.tolist(), length.tolist()) == ([errors], [words])


def test_character_errors_by_hand():
    errors, characters = character_errors(["abc d", "xy", ""], ["abx d", "", "z"])
    assert errors.tolist() == [1, 2, 1]
    assert characters.tolist() == [5, 2, 0]


WORDS = st.lists(st.sampled_from("abcd"), max_size=8)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=5))
def test_word_errors_are_the_edit_distance(pairs):
    errors, lengths = word_errors([" ".join(one) for one, _ in pairs], [" ".join(other) for _, other in pairs])
    assert errors.tolist() == [edit_distance(*pair) for pair in pairs]
    assert lengths.tolist() == [len(one) for one, _ in pairs]


def test_wer_pools_utterances_and_ignores_case_and_punctuation():
    found = speech_scores(
        ["Hello, world!", "Four words are here."], ["hello world", "for words are here"], ["en", "en"]
    )
    assert found["wer"].value == pytest.approx(1 / 6)
    assert found["wer"].denominator.tolist() == [2, 4]
    assert 0 < found["cer"].value < found["wer"].value


def test_unspaced_languages_are_counted_by_letters():
    found = speech_scores(["你好世界"], ["你好世间"], ["zh"])
    assert found["wer"].value == 0.25
    assert found["cer"].denominator.tolist() == [4]


def test_no_utterances_and_lists_of_different_length():
    assert [part.tolist() for part in word_errors([], [])] == [[], []]
    with pytest.raises(ValueError, match="1 references for 0 hypotheses"):
        word_errors(["a"], [])


def test_every_differing_word_is_listed():
    found = word_differences("The quick brown fox jumped over.", "the quik fox jumped right over", "en")
    assert [difference.as_json() for difference in found] == [
        {"kind": "substitute", "reference": "quick", "hypothesis": "quik"},
        {"kind": "delete", "reference": "brown", "hypothesis": ""},
        {"kind": "insert", "reference": "", "hypothesis": "right"},
    ]
    assert word_differences("Twenty!", "20", "en") == ()


def test_importing_the_room_loads_no_heavy_package():
    program = (
        "import sys\n"
        "from penjing.evaluate import goals, similarity, speed, tasks\n"
        "print([m for m in ('torch', 'transformers', 'jiwer', 'whisper_normalizer', 'scipy') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "[]\n"
