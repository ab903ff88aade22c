"""The family of last resort: it matches everything, exports nothing, and reads text where there is a tokenizer."""

from __future__ import annotations

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers

from penjing.data.row import Row
from penjing.errors import DataError
from penjing.models.capture import call
from penjing.models.families.generic import Generic


@pytest.fixture
def words(tmp_path):
    """A folder with a tokenizer of four words."""
    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0, "a": 4, "red": 5, "bus": 6}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    return tmp_path


def test_it_matches_anything_and_has_no_graphs(opened):
    family = Generic()
    assert family.matches(object())
    assert family.task is None
    assert family.components(opened("bert_masked").net) == []
    assert family.settings(opened("bert_masked").net, None) == {}


def test_rows_of_text_become_tokens(opened, words):
    rows = [Row("1", {"text": "a red bus"}), Row("2", {"text": "a blue bus"})]
    first, second = Generic().batches({}, words, rows)
    assert first["input_ids"].tolist() == [[4, 5, 6]]
    assert second["input_ids"].tolist() == [[4, 0, 6]]
    assert torch.equal(first["attention_mask"], torch.ones(1, 3, dtype=torch.int64))
    with torch.no_grad():
        assert call(opened("llama").net, first).logits.shape == (1, 3, 96)


def test_long_texts_are_cut(words):
    (batch,) = Generic().batches({}, words, [Row("1", {"text": "a bus " * 1000})])
    assert batch["input_ids"].shape == (1, 512)


def test_without_a_tokenizer_it_says_so(tmp_path):
    with pytest.raises(DataError, match=r"holds no tokenizer") as caught:
        next(Generic().batches({}, tmp_path, [Row("1", {"text": "a"})]))
    assert "without data" in caught.value.hint


def test_a_row_without_text_is_named(words):
    with pytest.raises(DataError, match="row 7 has no text"):
        next(Generic().batches({}, words, [Row("7", {"label": "bus"})]))
