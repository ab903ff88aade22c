"""Distortions of text: of any script, never empty, and as many mistakes as asked for."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penjing.data.shifts import text
from penjing.data.shifts.registry import AUGMENTATIONS, Distortion, gate_shift, of_modality
from penjing.data.shifts.seeds import generator

pytestmark = pytest.mark.shop

ENGLISH = "The quick brown fox jumps over the lazy dog; it does not look back, and nobody saw where it went."
SENTENCES = {
    "english": ENGLISH,
    "german": "Über die Straße fährt jeden Morgen ein alter grüner Bus, der überfüllt wirkt und trotzdem pünktlich.",
    "russian": "Каждое утро по этой улице едет старый зелёный автобус, и он всегда приходит вовремя, даже зимой.",
    "chinese": "每天早上都有一辆旧的绿色公共汽车开过这条街，车上总是挤满了人，但是它从来没有迟到过，大家都很喜欢它。",
    "arabic": "كل صباح تمر حافلة خضراء قديمة في هذا الشارع، وهي دائما مزدحمة ولكنها تصل في الموعد المحدد",
    "hindi": "हर सुबह इस सड़क से एक पुरानी हरी बस गुज़रती है, जो हमेशा भरी रहती है लेकिन समय पर पहुँचती है।",
    "thai": "ทุกเช้ามีรถบัสสีเขียวคันเก่าวิ่งผ่านถนนสายนี้ รถเต็มเสมอแต่ก็มาตรงเวลาทุกวัน",
}


def distance(first: str, other: str) -> int:
    """Levenshtein."""
    costs = list(range(len(other) + 1))
    for row, left in enumerate(first, 1):
        previous, costs[0] = costs[0], row
        for column, right in enumerate(other, 1):
            substituted = previous + (left != right)
            previous, costs[column] = costs[column], min(costs[column] + 1, costs[column - 1] + 1, substituted)
    return costs[-1]


def letters(words: str) -> int:
    return sum(character.isalpha() for character in words)


def augmentation(name: str) -> Distortion:
    (kind,) = (kind for kind in of_modality(AUGMENTATIONS, "text") if kind.name == name)
    return kind


@pytest.mark.parametrize("language", SENTENCES)
def test_typos_change_a_few_letters_in_every_script(language: str) -> None:
    sentence, made = SENTENCES[language], set()
    for seed in range(20):
        mistyped = gate_shift("typos").apply(sentence, generator(seed))
        assert 0.02 <= distance(sentence, mistyped) / letters(sentence) <= 0.15
        made.add(mistyped)
    assert len(made) > 15


@pytest.mark.parametrize("language", ["hindi", "arabic", "thai"])
def test_typos_leave_no_mark_without_its_letter(language: str) -> None:
    for seed in range(50):
        mistyped = gate_shift("typos").apply(SENTENCES[language], generator(seed))
        for before, after in zip(" " + mistyped, mistyped, strict=False):
            if unicodedata.category(after) == "Mn":
                assert not before.isspace(), mistyped


def test_typos_use_the_keys_beside_and_keep_capitals() -> None:
    assert set(text.NEIGHBOURS["g"]) == set("ftyhbv")
    assert set(text.NEIGHBOURS["r"]) == set("edft")
    assert set(text.NEIGHBOURS["q"]) == set("wa")
    assert "е" in text.NEIGHBOURS["к"]
    assert all(key in text.NEIGHBOURS[near] for key, beside in text.NEIGHBOURS.items() for near in beside)
    outputs = {text.typos("G", generator(seed), 1.0) for seed in range(80)}
    assert outputs == {"GG", *"FTYHBV"}


def test_typos_swap_drop_and_double() -> None:
    outputs = {text.typos("一二三", generator(seed), 0.3) for seed in range(200)}
    assert outputs == {"一一二三", "一二二三", "一二三三", "二一三", "一三二", "一三"}


@given(st.text(max_size=60), st.integers(0, 5))
def test_typos_never_empty_a_text_and_never_touch_signs(words: str, seed: int) -> None:
    mistyped = text.typos(words, generator(seed), 0.5)
    assert bool(mistyped.strip()) == bool(words.strip())
    signs = [character for character in words if character in " ,.!?0123456789\n"]
    assert [character for character in mistyped if character in " ,.!?0123456789\n"] == signs


def test_case() -> None:
    assert gate_shift("upper_case").apply("Straße, 3 Äpfel", generator(0)) == "STRASSE, 3 ÄPFEL"
    assert gate_shift("upper_case").apply("你好", generator(0)) == "你好"
    outputs = {augmentation("case").apply("a Fox ran", generator(seed)) for seed in range(30)}
    assert outputs == {"A FOX RAN", "a fox ran", "A Fox Ran"}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("Well, is it 3.50 or 1,000?", "Well is it 3.50 or 1,000"),
        ("don't re-enter “here”…", "don't re enter here"),
        ("Hello,world!", "Hello world"),
        ("你好，世界。真的？", "你好世界真的"),
        ("¿Qué? ¡No!", "Qué No"),
        ("no signs", "no signs"),
        ("?!", ""),
    ],
)
def test_no_punctuation(before: str, after: str) -> None:
    assert gate_shift("no_punctuation").apply(before, generator(0)) == after


@given(st.text(alphabet=st.characters(categories=["L", "P", "Zs"]), max_size=60))
def test_no_punctuation_keeps_every_letter(words: str) -> None:
    bare = text.no_punctuation(words, generator(0))
    assert [character for character in bare if character.isalpha()] == [
        character for character in words if character.isalpha()
    ]


@given(st.text(min_size=1, max_size=80), st.integers(0, 5))
def test_length_keeps_a_beginning_that_is_not_empty(words: str, seed: int) -> None:
    shorter = augmentation("length").apply(words, generator(seed))
    assert " ".join(words.split()).startswith(shorter)
    assert bool(shorter) == bool(words.strip())


def test_length_is_of_many_shares() -> None:
    counts = {len(augmentation("length").apply(ENGLISH, generator(seed)).split()) for seed in range(200)}
    assert min(counts) <= 5
    assert max(counts) == len(ENGLISH.split())
    assert len(counts) > 12
    counts = {len(augmentation("length").apply(SENTENCES["chinese"], generator(seed))) for seed in range(200)}
    assert min(counts) <= 14
    assert len(counts) > 25


def test_random_typos_are_of_many_shares() -> None:
    shares = [
        distance(ENGLISH, augmentation("typos").apply(ENGLISH, generator(seed))) / letters(ENGLISH)
        for seed in range(60)
    ]
    assert 0 < min(shares) < 0.04
    assert 0.1 < max(shares) < 0.25
