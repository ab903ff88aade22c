"""Our text front end against the tokenizers of transformers, on tiny tokenizers built here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

from penjing.data.text import TextFrontEnd, tokens_in
from penjing.errors import ModelError

SENTENCES = [
    "a red bus at night",
    "Two CATS, asleep on a blue sofa!",
    "",
    "naïve café — 3 tiny birds near the river bank under a very old tree and some more words",
    "unknownword",
]
SETTINGS: dict[str, Any] = {
    "inputs": ["input_ids", "attention_mask"],
    "max_length": 12,
    "padding": "longest",
    "pad_id": 0,
    "pad_token": "[PAD]",
    "pad_side": "right",
    "lower": False,
}


def word_level() -> Tokenizer:
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *sorted({word for s in SENTENCES[:2] for word in s.lower().split()})]
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return tokenizer


def byte_pairs() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=["[PAD]", "[UNK]", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(SENTENCES * 3, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 2)])
    return tokenizer


def saved(tokenizer: Tokenizer, folder: Path) -> Path:
    path = folder / "tokenizer.json"
    tokenizer.save(str(path))
    return path


@pytest.mark.parametrize("padding", ["longest", "max_length"])
@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("make", [word_level, byte_pairs])
def test_equals_transformers(make: Any, side: str, padding: str, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    tokenizer = make()
    theirs = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", padding_side=side)
    theirs.save_pretrained(tmp_path)
    expected = theirs(SENTENCES, padding=padding, truncation=True, max_length=12, return_tensors="np")
    front_end = TextFrontEnd(tmp_path / "tokenizer.json", {**SETTINGS, "padding": padding, "pad_side": side})
    ours = front_end(SENTENCES)
    assert set(ours) == {"input_ids", "attention_mask"}
    for name, values in ours.items():
        assert values.dtype == np.int64
        np.testing.assert_array_equal(values, expected[name])
    read = [front_end.read(text) for text in SENTENCES]
    assert [tokens_in(one) for one in read] == expected["attention_mask"].sum(1).tolist()
    for name, values in front_end.together(read).items():
        np.testing.assert_array_equal(values, expected[name])
    rounded = [front_end.together([front_end.read(text)], 8) for text in SENTENCES]
    if side == "right":
        assert {one["input_ids"].shape[1] for one in rounded} <= {8, 12}  # 12 are the most it takes
    assert [one["attention_mask"].sum() for one in rounded] == expected["attention_mask"].sum(1).tolist()


def test_lower_casing_equals_a_tokenizer_that_lowers(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    cased, lowering = word_level(), word_level()
    lowering.normalizer = normalizers.Lowercase()
    theirs = transformers.PreTrainedTokenizerFast(tokenizer_object=lowering, pad_token="[PAD]")
    expected = theirs(SENTENCES, padding=True, truncation=True, max_length=12, return_tensors="np")["input_ids"]
    path = saved(cased, tmp_path)
    np.testing.assert_array_equal(TextFrontEnd(path, {**SETTINGS, "lower": True})(SENTENCES)["input_ids"], expected)
    assert (TextFrontEnd(path, SETTINGS)(SENTENCES)["input_ids"] != expected).any()


@pytest.mark.shop
def test_padding_and_truncation_in_the_file_are_overruled(tmp_path: Path) -> None:
    tokenizer = word_level()
    tokenizer.enable_padding(length=40, pad_id=1, pad_token="[UNK]")
    tokenizer.enable_truncation(3)
    encoded = TextFrontEnd(saved(tokenizer, tmp_path), SETTINGS)(["a red bus at night", "a bus"])
    assert encoded["input_ids"].shape == (2, 7)
    assert encoded["input_ids"][1, 4:].tolist() == [0, 0, 0]
    assert encoded["attention_mask"].sum(1).tolist() == [7, 4]


@pytest.mark.shop
def test_only_the_named_inputs_are_made(tmp_path: Path) -> None:
    settings = {**SETTINGS, "inputs": ["input_ids"], "padding": "max_length", "max_length": 64}
    encoded = TextFrontEnd(saved(byte_pairs(), tmp_path), settings)(SENTENCES)
    assert list(encoded) == ["input_ids"]
    assert encoded["input_ids"].shape == (len(SENTENCES), 64)


@pytest.mark.shop
def test_long_sentences_keep_their_last_special_token(tmp_path: Path) -> None:
    ids = TextFrontEnd(saved(word_level(), tmp_path), SETTINGS)(["a " * 100])["input_ids"]
    assert ids.shape == (1, 12)
    assert ids[0, -1] == 3


@pytest.mark.shop
def test_bad_files_and_settings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"tokenizer\.json is missing"):
        TextFrontEnd(tmp_path / "tokenizer.json", SETTINGS)
    broken = tmp_path / "broken.json"
    broken.write_text("{}")
    with pytest.raises(ModelError, match="not a tokenizer"):
        TextFrontEnd(broken, SETTINGS)
    with pytest.raises(ModelError, match="lack 'pad_id'"):
        TextFrontEnd(broken, {name: value for name, value in SETTINGS.items() if name != "pad_id"})


def test_pairs_equal_transformers(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    tokenizer = word_level()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    theirs = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]")
    theirs.save_pretrained(tmp_path)
    names = ["input_ids", "attention_mask", "token_type_ids"]
    pairs = [(SENTENCES[0], SENTENCES[1]), (SENTENCES[4], SENTENCES[3]), ("cats", "a red sofa")]
    front_end = TextFrontEnd(tmp_path / "tokenizer.json", {**SETTINGS, "inputs": names, "lower": True})
    lowered = [[text.lower() for text in pair] for pair in pairs]
    options = {"padding": True, "truncation": True, "max_length": 12, "return_token_type_ids": True}
    first, second = ([pair[place] for pair in lowered] for place in (0, 1))
    expected = theirs(first, second, **options, return_tensors="np")
    found = front_end(pairs)
    assert list(found) == names
    for name in names:
        np.testing.assert_array_equal(found[name], expected[name])
    assert found["token_type_ids"].sum() > 3
