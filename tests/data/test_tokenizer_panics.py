"""A tokenizer whose rules give up is an error of one line, not a panic that passes `except Exception`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from penjing.data.text import SafeTokenizer, is_panic, open_tokenizer
from penjing.errors import ModelError

pytestmark = pytest.mark.shop

HOPELESS = "(a+)+$"
"""Backtracks without end on many letters a and another one."""


def save(path: Path, pre_tokenizer: object = None, unknown: str | None = "?") -> Path:
    model = {"type": "WordLevel", "vocab": {"a": 0, "?": 1}, "unk_token": unknown or "gone"}
    document = {"version": "1.0", "added_tokens": [], "pre_tokenizer": pre_tokenizer, "model": model}
    path.write_text(json.dumps(document))
    return path


def test_a_hopeless_expression(tmp_path: Path) -> None:
    split = {"type": "Split", "pattern": {"Regex": HOPELESS}, "behavior": "Isolated", "invert": False}
    tokenizer = open_tokenizer(save(tmp_path / "tokenizer.json", split))
    text = "a" * 60 + "b"
    with pytest.raises(BaseException) as plain:  # noqa: PT011 - its class cannot be imported
        tokenizer.plain.encode(text)
    assert is_panic(plain.value)
    assert not isinstance(plain.value, Exception)
    for call in (lambda: tokenizer.encode(text), lambda: tokenizer.encode_batch([text])):
        with pytest.raises(ModelError, match="its rules cannot read this text") as caught:
            call()
        assert caught.value.exit_code == 2


def test_an_unknown_token_that_is_gone(tmp_path: Path) -> None:
    tokenizer = open_tokenizer(save(tmp_path / "tokenizer.json", unknown=None))
    assert tokenizer.encode("a").ids == [0]
    with pytest.raises(ModelError, match="its rules cannot read this text"):
        tokenizer.encode("b")


@pytest.mark.parametrize("content", ["{", "[" * 100_000, "[]", '{"model": {"type": "BPE", "vocab": 5, "merges": []}}'])
def test_a_damaged_tokenizer(content: str, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(ModelError, match="is not a tokenizer"):
        open_tokenizer(tmp_path / "tokenizer.json")


def test_misuse_stays_misuse(tmp_path: Path) -> None:
    tokenizer = open_tokenizer(save(tmp_path / "tokenizer.json"))
    assert isinstance(tokenizer, SafeTokenizer)
    with pytest.raises(TypeError):
        tokenizer.encode(5)
    with pytest.raises(AttributeError):
        tokenizer.no_such_method()
