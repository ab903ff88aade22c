"""Two transcripts side by side, with the words that differ marked for the eye; scoring is the business of evaluate."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Literal

from penjing.evaluate.words import normalise


@dataclass(frozen=True, slots=True)
class Piece:
    """A run of words: `same` in both, `wrong` (heard, not said) or `missing` (said, not heard)."""

    text: str
    kind: Literal["same", "wrong", "missing"]


def pieces(reference: str, heard: str, language: str) -> list[Piece]:
    """Cut what was heard into runs of words, and put in those it lost. What the scoring ignores is no difference."""
    said, words = reference.split(), heard.split()
    before, after = ([_key(word, language) for word in side] for side in (said, words))
    found: list[Piece] = []
    for operation, start, end, from_, to in difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        here, there = " ".join(words[from_:to]), " ".join(said[start:end])
        if operation == "equal" or _only_formal(before[start:end], after[from_:to]):
            found.append(Piece(here, "same"))
        elif here:
            found.append(Piece(here, "wrong"))
        else:
            found.append(Piece(there, "missing"))
    return [piece for piece in found if piece.text]


def _key(word: str, language: str) -> str:
    """What of a word is scored: its normal form, empty for a lone dash."""
    return normalise(word, language)


def _only_formal(before: list[str], after: list[str]) -> bool:
    """Whether two runs of words differ only in where they are cut, or in words that are not scored."""
    return " ".join(filter(None, before)) == " ".join(filter(None, after))
