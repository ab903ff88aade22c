"""Sentences in, token ids out, by the checkpoint's own `tokenizer.json` and nothing of transformers."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Encoding, Tokenizer

from penjing.errors import DataError, ModelError
from penjing.values import Array

Item = str | tuple[str, str]
"""A text, or a pair of texts that are read as one."""
TEXT_SETTINGS = ("inputs", "max_length", "padding", "pad_id", "pad_token", "pad_side", "lower")


class TokenIds:
    """A text as token ids, in the form that the tokenizers library gives texts in."""

    def __init__(self, ids: Sequence[int]) -> None:
        self.ids = [*ids]
        self.attention_mask = [1] * len(self.ids)
        self.type_ids = [0] * len(self.ids)

    def __len__(self) -> int:
        return len(self.ids)

    def pad(self, length: int, *, direction: str, pad_id: int, pad_token: str) -> None:
        """Pad to a length, on the left or on the right."""
        missing = max(length - len(self.ids), 0)
        for column, value in ((self.ids, pad_id), (self.attention_mask, 0), (self.type_ids, 0)):
            padding = [value] * missing
            column[:] = [*padding, *column] if direction == "left" else [*column, *padding]


class TextFrontEnd:
    """Turns sentences into the integer inputs of a text encoder; equal to the tokenizers of transformers.

    Settings: `inputs` names the arrays to return (`input_ids`, `attention_mask`, `token_type_ids`), `max_length` cuts,
    `padding` is `longest` (of the sentences given) or `max_length`, `pad_id`, `pad_token` and `pad_side` say how,
    `lower` lower-cases first where the tokenizer's file does not.
    """

    def __init__(self, tokenizer_json: Path, settings: Mapping[str, Any]) -> None:
        missing = [name for name in TEXT_SETTINGS if name not in settings]
        if missing:
            raise ModelError(f"the text settings lack {missing[0]!r}", hint="compress the model again")
        self.tokenizer = open_tokenizer(tokenizer_json)
        self.inputs: tuple[str, ...] = tuple(settings["inputs"])
        self.lower: bool = settings["lower"]
        self._longest: int = settings["max_length"]
        self.tokenizer.enable_truncation(self._longest)
        self._padding = {
            "direction": settings["pad_side"],
            "pad_id": settings["pad_id"],
            "pad_token": settings["pad_token"],
        }
        fixed = self._longest if settings["padding"] == "max_length" else None
        self.tokenizer.enable_padding(length=fixed, **self._padding)

    def __call__(self, texts: Sequence[Item]) -> dict[str, Array]:
        """Return the inputs of n sentences, or pairs of them: int64 (n, tokens) each."""
        return self._arrays(self.tokenizer.encode_batch([_lowered(text) if self.lower else text for text in texts]))

    def read(self, text: Item) -> Encoding:
        """Read one sentence, or a pair, for `together`; other threads run meanwhile."""
        (encoding,) = self.tokenizer.encode_batch([_lowered(text) if self.lower else text])
        return encoding

    def read_tokens(self, token_ids: Sequence[int]) -> TokenIds:
        """Read a text of which this tokenizer's ids are given, with or without the special ones around it; cut as a
        text is.

        Raises:
            DataError: Ids that this tokenizer does not have.
        """
        known = self.tokenizer.get_vocab_size()
        if not all(0 <= token_id < known for token_id in token_ids):
            hint = "they are of another tokenizer: send the text"
            raise DataError(f"token ids of this model are 0 to {known - 1}", hint=hint)
        before, after = self._special_ids()
        plain = [*token_ids]
        end = len(plain) - len(after)
        if end >= len(before) and plain[: len(before)] == before and plain[end:] == after:
            plain = plain[len(before) : end]
        return TokenIds([*before, *plain[: self._longest - len(before) - len(after)], *after])

    def _special_ids(self) -> tuple[list[int], list[int]]:
        """Ids of the special tokens before and after a text."""
        (probe,) = self.tokenizer.encode_batch(["a"])
        marks = zip(probe.ids, probe.special_tokens_mask, probe.attention_mask, strict=True)
        read = [(token_id, special) for token_id, special, attended in marks if attended]
        before = [token_id for token_id, _ in itertools.takewhile(lambda token: token[1], read)]
        after = [token_id for token_id, _ in itertools.takewhile(lambda token: token[1], reversed(read))]
        return before, after[::-1] if len(before) < len(read) else []

    def together(self, read: Sequence[Encoding | TokenIds], multiple: int = 1) -> dict[str, Array]:
        """Return the inputs of n that were read; padded to a multiple of so many tokens, if the model takes as many.

        Not where padding stands in front: it would move the words.
        """
        longest = length = max(len(encoding) for encoding in read)
        if self._padding["direction"] == "right":
            length = max(longest, min(-(-longest // multiple) * multiple, self._longest))
        for encoding in read:
            encoding.pad(length, **self._padding)
        return self._arrays(read)

    def _arrays(self, encodings: Sequence[Encoding | TokenIds]) -> dict[str, Array]:
        columns = {
            "input_ids": [encoding.ids for encoding in encodings],
            "attention_mask": [encoding.attention_mask for encoding in encodings],
            "token_type_ids": [encoding.type_ids for encoding in encodings],
        }
        return {name: np.asarray(columns[name], dtype=np.int64).reshape(len(encodings), -1) for name in self.inputs}


def tokens_in(read: Encoding | TokenIds) -> int:
    """Tokens of a text as it is read: cut, those around it counted, padding not."""
    return sum(read.attention_mask)


def count_tokens(tokenizer: Tokenizer, text: str) -> int:
    """Tokens of a text without special ones around it and without padding, cut where the tokenizer cuts."""
    (encoding,) = tokenizer.encode_batch([text], add_special_tokens=False)
    return sum(encoding.attention_mask)


def _lowered(item: Item) -> Item:
    return item.lower() if isinstance(item, str) else (item[0].lower(), item[1].lower())


def open_tokenizer(path: Path) -> Tokenizer:
    """Read a `tokenizer.json`."""
    if not path.is_file():
        raise ModelError(f"{path.name} is missing in {path.parent}", hint="save the model's fast tokenizer there")
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the Rust library raises plain Exception
        raise ModelError(f"{path} is not a tokenizer: {error}", hint="save the model's fast tokenizer again") from error


def special_tokens(tokenizer: Tokenizer) -> tuple[str, ...]:
    """Texts that a tokenizer reads as special tokens, wherever they stand."""
    return tuple(token.content for token in tokenizer.get_added_tokens_decoder().values() if token.special)


def check_plain(text: str, special: Sequence[str], what: str) -> None:
    """Refuse a text of a user that holds a special token: behind one it could speak for the model or for others."""
    held = next((token for token in special if token in text), None)
    if held is not None:
        raise DataError(f"{what} holds {held}, a token of the model's own", hint="leave it out")
