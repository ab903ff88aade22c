"""Tokens as text while they come, up to the texts that end it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from penjing.errors import DataError

UNFINISHED = "\ufffd"
"""What a tokenizer shows of a character whose last bytes are still to come."""


def pieces_of(tokenizer: Any, tokens: Iterable[int]) -> Iterator[str]:
    """The text of tokens, piece by piece as they come."""
    written: list[int] = []
    shown = ""
    for token in tokens:
        written.append(token)
        text = tokenizer.decode(written, skip_special_tokens=True)
        if not text.endswith(UNFINISHED):
            yield text[len(shown) :]
            shown = text


def until(stop: Sequence[str], pieces: Iterable[str]) -> Iterator[str]:
    """The pieces up to the first of these texts, which may begin in one piece and end in another."""
    if not all(stop):
        raise DataError("an empty text stops everything", hint="leave it out")
    held = ""
    for piece in pieces:
        held += piece
        found = [held.index(text) for text in stop if text in held]
        if found:
            if held[: min(found)]:
                yield held[: min(found)]
            return
        kept = max((size for text in stop for size in range(1, len(text)) if held.endswith(text[:size])), default=0)
        if len(held) > kept:
            yield held[: len(held) - kept]
            held = held[len(held) - kept :]
    if held:
        yield held
