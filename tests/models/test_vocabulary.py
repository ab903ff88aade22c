"""Trimmed tokenizers: texts of kept tokens are cut as before, every other text still is, special tokens stay."""

from __future__ import annotations

import json
from functools import lru_cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from penjing.errors import ModelError
from penjing.models.vocabulary import added, closure, pieces_of, trimmed
from tiny_tokenizers import CORPUS, KINDS, SPECIAL

WORDS = sorted({word for line in CORPUS for word in line.split()})
texts = st.lists(st.sampled_from(WORDS), min_size=1, max_size=12).map(" ".join)


@lru_cache
def whole(kind: str) -> Tokenizer:
    return KINDS[kind]()


def trim(kind: str, wanted: set[int]) -> tuple[Tokenizer, dict[int, int]]:
    document = json.loads(whole(kind).to_str())
    numbers = {token: place for place, token in enumerate(sorted(closure(document, wanted)))}
    return Tokenizer.from_str(json.dumps(trimmed(document, numbers))), numbers


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=25, deadline=None)
@given(kept=texts, other=texts)
def test_a_text_of_kept_tokens_is_cut_as_before_and_any_other_still_is(kind, kept, other):
    before = whole(kind)
    ids = before.encode(kept).ids
    after, numbers = trim(kind, set(ids))
    assert after.encode(kept).ids == [numbers[token] for token in ids]
    assert after.get_vocab_size() == len(numbers) < before.get_vocab_size()
    assert after.decode(after.encode(other).ids) == before.decode(before.encode(other).ids)
    assert len(after.encode(other).ids) >= len(before.encode(other).ids)


@pytest.mark.parametrize("kind", KINDS)
def test_special_tokens_stay_and_are_found_under_their_new_numbers(kind):
    after, numbers = trim(kind, set())
    assert [after.token_to_id(name) for name in SPECIAL] == [numbers[whole(kind).token_to_id(name)] for name in SPECIAL]
    assert after.encode("[CLS]", add_special_tokens=False).ids == [after.token_to_id("[CLS]")]


@settings(max_examples=25, deadline=None)
@given(st.text(max_size=20))
def test_bytes_spell_whatever_comes(text):
    after, _ = trim("byte_bpe", set())
    assert after.decode(after.encode(text).ids, skip_special_tokens=False) == text


def test_the_way_to_a_kept_token_stays():
    made = Tokenizer.from_str(json.dumps(BY_HAND))
    assert made.encode("abc").ids == [6]
    assert closure(BY_HAND, {6}) == {0, 1, 2, 3, 4, 6}  # a b c d, ab, abc; not cd
    numbers = {token: place for place, token in enumerate([0, 1, 2, 3, 4, 6])}
    found = trimmed(BY_HAND, numbers)
    assert found["model"]["vocab"] == {"a": 0, "b": 1, "c": 2, "d": 3, "ab": 4, "abc": 5}
    assert found["model"]["merges"] == [["a", "b"], ["ab", "c"]]
    assert len(BY_HAND["model"]["merges"]) == 3  # what was given is left as it was


BY_HAND = {
    "version": "1.0",
    "added_tokens": [],
    "normalizer": None,
    "pre_tokenizer": None,
    "post_processor": None,
    "decoder": None,
    "model": {
        "type": "BPE",
        "vocab": {"a": 0, "b": 1, "c": 2, "d": 3, "ab": 4, "cd": 5, "abc": 6},
        "merges": [["a", "b"], ["c", "d"], ["ab", "c"]],
    },
}


def test_old_files_write_merges_as_lines():
    lines = {**BY_HAND, "model": {**BY_HAND["model"], "merges": ["a b", "c d", "ab c"]}}
    assert closure(lines, {6}) == closure(BY_HAND, {6})
    numbers = {token: token for token in (0, 1, 2, 3, 5)}
    assert trimmed(lines, numbers)["model"]["merges"] == ["c d"]


def test_where_bytes_spell_characters_go_as_well():
    spelled = {f"<0x{byte:02X}>": byte for byte in range(256)}
    model = {
        "type": "BPE",
        "byte_fallback": True,
        "vocab": {**spelled, "a": 256, "ж": 257, "aж": 258},
        "merges": [["a", "ж"]],
    }
    assert closure({"model": model}, {256}) == set(range(257))
    assert closure({"model": model}, {258}) == set(range(259))
    assert closure({"model": {**model, "byte_fallback": False}}, set()) == set(range(258))


def test_numbers_of_padding_and_of_what_stands_around_a_text_follow():
    made = whole("unigram")
    made.enable_padding(pad_id=made.token_to_id("[PAD]"), pad_token="[PAD]")
    document = json.loads(made.to_str())
    made.no_padding()
    numbers = {token: place + 1 for place, token in enumerate(sorted(closure(document, set())))}
    found = trimmed(document, numbers)
    assert found["padding"]["pad_id"] == 1 + document["padding"]["pad_id"]
    ids = found["post_processor"]["special_tokens"]["[SEP]"]["ids"]
    assert ids == [added(document)["[SEP]"] + 1]


def test_an_unknown_kind_is_refused():
    with pytest.raises(ModelError, match="type 'Magic'"):
        pieces_of({"model": {"type": "Magic", "vocab": {}}})
