"""Sentences that the grammar gives: whole, various, the same every time, and of what it is made of."""

from __future__ import annotations

import re
from itertools import islice

from penjing.teach.everyday import PLACE, Grammar, everyday, read_grammar


def test_every_place_has_words_and_every_word_a_place():
    grammar = read_grammar()
    named = {name for text in grammar.sentences for name in PLACE.findall(text)}
    assert named == set(grammar.words)
    assert all(len({*choices}) == len(choices) > 5 for choices in grammar.words.values())
    assert not any("{" in word for choices in grammar.words.values() for word in choices)


def test_sentences_are_whole_and_the_same_every_time():
    found = [*islice(everyday(), 3000)]
    assert found == [*islice(everyday(), 3000)]
    assert len({*found}) == 3000
    assert all(not text[0].islower() and text[-1] in ".?!" for text in found)
    assert not any(re.search(r"[{}]|  |[?] [a-z]", text) for text in found)
    words = {word.strip(".,?!").lower() for text in found for word in text.split()}
    assert len(words) > 1000


def test_no_word_comes_twice_in_a_sentence_where_there_are_others():
    grammar = Grammar({"word": ("one", "two", "three")}, ("{word} {word} {word}.",))
    found = {grammar.imagine(seed) for seed in range(40)}
    assert len(found) == 6
    assert all(len({*text.lower().strip(".").split()}) == 3 for text in found)
    assert Grammar({"word": ("so",)}, ("{word}, {word}? {word}!",)).imagine(0) == "So, so? So!"


def test_the_words_of_a_place_all_come():
    grammar = read_grammar()
    found = " ".join(islice(everyday(), 3000))
    assert [day for day in grammar.words["day"] if day not in found] == []
    assert [color for color in grammar.words["color"] if color not in found] == []
