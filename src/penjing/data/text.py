"""Sentences in, token ids out, by the checkpoint's own `tokenizer.json` and nothing of transformers."""

from __future__ import annotations

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

    def read_tokens(self, token_ids: Sequence[int]) -> Encoding:
        """Read a text of which this tokenizer's ids are given, with or without the special ones around it.

        Raises:
            DataError: Ids that this tokenizer does not give for any text, as those of another model's.
        """
        known = self.tokenizer.get_vocab_size()
        text = self.tokenizer.decode([*token_ids]) if all(0 <= token_id < known for token_id in token_ids) else ""
        encoding = self.read(text)
        marks = zip(encoding.ids, encoding.special_tokens_mask, encoding.attention_mask, strict=True)
        whole = [(token_id, special) for token_id, special, attended in marks if attended]
        plain = [token_id for token_id, special in whole if not special]
        given = [*token_ids]
        cut = len(whole) == self._longest
        if given != [token_id for token_id, _ in whole] and (given[: len(plain)] if cut else given) != plain:
            hint = "they are of another tokenizer: send the text"
            raise DataError("these token ids are none that this model's tokenizer gives", hint=hint)
        return encoding

    def together(self, read: Sequence[Encoding], multiple: int = 1) -> dict[str, Array]:
        """Return the inputs of n that were read; padded to a multiple of so many tokens, if the model takes as many.

        Not where padding stands in front: it would move the words.
        """
        longest = length = max(len(encoding) for encoding in read)
        if self._padding["direction"] == "right":
            length = max(longest, min(-(-longest // multiple) * multiple, self._longest))
        for encoding in read:
            encoding.pad(length, **self._padding)
        return self._arrays(read)

    def _arrays(self, encodings: Sequence[Encoding]) -> dict[str, Array]:
        columns = {
            "input_ids": [encoding.ids for encoding in encodings],
            "attention_mask": [encoding.attention_mask for encoding in encodings],
            "token_type_ids": [encoding.type_ids for encoding in encodings],
        }
        return {name: np.asarray(columns[name], dtype=np.int64).reshape(len(encodings), -1) for name in self.inputs}


def tokens_in(read: Encoding) -> int:
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
