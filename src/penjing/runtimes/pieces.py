"""Tokens as text while they come, up to the texts that end it."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from typing import Any, Generic, TypeVar

from penjing.errors import DataError

UNFINISHED = "\ufffd"
"""What a tokenizer shows of a character whose last bytes are still to come."""
Made = TypeVar("Made")


class Ending(Generic[Made]):
    """Goes through what is written, and knows afterwards whether it was cut at a limit: what its generator returns."""

    was_cut = False

    def __init__(self, written: Iterable[Made]) -> None:
        self._written: Any = written

    def __iter__(self) -> Iterator[Made]:
        self.was_cut = bool((yield from self._written))


def pieces_of(tokenizer: Any, tokens: Iterable[int]) -> Generator[str, None, bool]:
    """The text of tokens, piece by piece as they come; returns whether they were cut."""
    written: list[int] = []
    shown, ending = "", Ending(tokens)
    for token in ending:
        written.append(token)
        text = tokenizer.decode(written, skip_special_tokens=True)
        if not text.endswith(UNFINISHED):
            yield text[len(shown) :]
            shown = text
    return ending.was_cut


def until(stop: Sequence[str], pieces: Iterable[str]) -> Generator[str, None, bool]:
    """The pieces up to the first of these texts, which may begin in one piece and end in another.

    Returns whether the pieces were cut before one of them came.
    """
    if not all(stop):
        raise DataError("an empty text stops everything", hint="leave it out")
    held, ending = "", Ending(pieces)
    for piece in ending:
        held += piece
        found = [held.index(text) for text in stop if text in held]
        if found:
            if held[: min(found)]:
                yield held[: min(found)]
            return False
        kept = max((size for text in stop for size in range(1, len(text)) if held.endswith(text[:size])), default=0)
        if len(held) > kept:
            yield held[: len(held) - kept]
            held = held[len(held) - kept :]
    if held:
        yield held
    return ending.was_cut
