"""Sentences in, token ids out, by the checkpoint's own `tokenizer.json` and nothing of transformers."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Encoding, Tokenizer

from penjing.errors import DataError, ModelError
from penjing.values import Array

Item = str | tuple[str, str]
"""A text, or a pair of texts that are read as one."""
MOST_TOKENIZER_BYTES = 256 * 2**20
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
    `lower` lower-cases first where the tokenizer's file does not; `prefix`, if there is one, stands before every text.
    """

    def __init__(self, tokenizer_json: Path, settings: Mapping[str, Any]) -> None:
        missing = [name for name in TEXT_SETTINGS if name not in settings]
        if missing:
            raise ModelError(f"the text settings lack {missing[0]!r}", hint="compress the model again")
        self.tokenizer = open_tokenizer(tokenizer_json)
        self.inputs: tuple[str, ...] = tuple(settings["inputs"])
        self.lower: bool = settings["lower"]
        self._prefix: str = settings.get("prefix", "")
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
        return self._arrays(self.tokenizer.encode_batch([self._prepared(text) for text in texts]))

    def read(self, text: Item) -> Encoding:
        """Read one sentence, or a pair, for `together`; other threads run meanwhile."""
        encodings: list[Encoding] = self.tokenizer.encode_batch([self._prepared(text)])
        return encodings[0]

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

    def _prepared(self, item: Item) -> Item:
        """A text, or both of a pair, as the tokenizer is given it."""
        if self._prefix:
            item = self._prefix + item if isinstance(item, str) else (self._prefix + item[0], self._prefix + item[1])
        return _lowered(item) if self.lower else item

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


def count_tokens(tokenizer: SafeTokenizer, text: str) -> int:
    """Tokens of a text without special ones around it and without padding, cut where the tokenizer cuts."""
    (encoding,) = tokenizer.encode_batch([text], add_special_tokens=False)
    return sum(encoding.attention_mask)


def _lowered(item: Item) -> Item:
    return item.lower() if isinstance(item, str) else (item[0].lower(), item[1].lower())


class SafeTokenizer:
    """A tokenizer of the tokenizers library whose panics and errors are errors of ours.

    A regular expression in tokenizer.json may give up (Oniguruma stops after so many steps back) and Rust then
    panics: what reaches Python is a BaseException, which passes every `except Exception` and would end a thread of a
    server without an answer. All methods of the library's own class are here by the same names.
    """

    def __init__(self, tokenizer: Tokenizer, name: str) -> None:
        self.plain, self._name = tokenizer, name

    def __getattr__(self, name: str) -> Any:
        """A method of the library, its panics contained; any other attribute as it is."""
        found = getattr(self.plain, name)
        if not callable(found):
            return found

        def call(*arguments: Any, **options: Any) -> Any:
            with contained(self._name):
                return found(*arguments, **options)

        return call


@contextlib.contextmanager
def contained(name: str) -> Iterator[None]:
    """Turn panics and errors of the tokenizers library, for the tokenizer of this name, into a ModelError.

    What Rust returns as an error is of the class Exception itself; misuse from Python has classes of its own.
    """
    try:
        yield
    except BaseException as error:
        if not is_panic(error) and type(error) is not Exception:
            raise
        raise ModelError(
            f"{name}: its rules cannot read this text: {' '.join(str(error).split())[:200]}",
            hint="look at its regular expressions and its unknown token, or save the model's fast tokenizer again",
        ) from None


def is_panic(error: BaseException) -> bool:
    """Whether Rust gave up; the class of these errors cannot be imported, every library of pyo3 has its own."""
    return type(error).__name__ == "PanicException"


def open_tokenizer(path: Path) -> SafeTokenizer:
    """Read a `tokenizer.json`.

    Raises:
        ModelError: there is none, it is damaged, larger than 256 MB or nested too deep.
    """
    if not path.is_file():
        raise ModelError(f"{path.name} is missing in {path.parent}", hint="save the model's fast tokenizer there")
    if path.stat().st_size > MOST_TOKENIZER_BYTES:
        raise ModelError(f"{path} is larger than {MOST_TOKENIZER_BYTES // 2**20} MB", hint="this is no tokenizer")
    try:
        return SafeTokenizer(Tokenizer.from_file(str(path)), str(path))
    except BaseException as error:  # the Rust library raises plain Exception, or panics
        if not isinstance(error, Exception) and not is_panic(error):
            raise
        reason = " ".join(str(error).split())[:200]
        hint = "save the model's fast tokenizer again"
        raise ModelError(f"{path} is not a tokenizer: {reason}", hint=hint) from None


def special_tokens(tokenizer: SafeTokenizer) -> tuple[str, ...]:
    """Texts that a tokenizer reads as special tokens, wherever they stand."""
    return tuple(token.content for token in tokenizer.get_added_tokens_decoder().values() if token.special)


def check_plain(text: str, special: Sequence[str], what: str) -> None:
    """Refuse a text of a user that holds a special token: behind one it could speak for the model or for others."""
    held = next((token for token in special if token in text), None)
    if held is not None:
        raise DataError(f"{what} holds {held}, a token of the model's own", hint="leave it out")
