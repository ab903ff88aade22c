"""Word and character errors of transcripts, counted by jiwer after Whisper's own text normalisers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np

from penjing.evaluate.interval import Floats, ItemScores

UNSPACED = frozenset({"zh", "yue", "ja", "th", "lo", "my"})
"""Languages written without spaces: every letter counts as a word, as in arXiv:2212.04356 (Whisper), appendix C."""


@dataclass(frozen=True, slots=True)
class WordDifference:
    """Words of the reference and what was heard instead; one side is empty where words were added or lost."""

    kind: Literal["substitute", "insert", "delete"]
    reference: str
    hypothesis: str

    def as_json(self) -> dict[str, str]:
        """Return a plain dict."""
        return {"kind": self.kind, "reference": self.reference, "hypothesis": self.hypothesis}


def normalise(text: str, language: str) -> str:
    """Bring a transcript into the form in which words are compared: no case, no punctuation, English numbers as digits.

    `language` is a code such as `en` or `de-AT`; unknown and empty ones get the basic normaliser.
    """
    code = _code(language)
    return " ".join(_normaliser("en" if code == "en" else "unspaced" if code in UNSPACED else "basic")(text).split())


def word_errors(references: Sequence[str], hypotheses: Sequence[str]) -> tuple[Floats, Floats]:
    """Count wrong words and words of the reference per normalised utterance. -> (items,), (items,)."""
    import jiwer

    return _errors(jiwer.process_words, references, hypotheses)


def character_errors(references: Sequence[str], hypotheses: Sequence[str]) -> tuple[Floats, Floats]:
    """Count wrong characters and characters of the reference per utterance, spaces included. -> (items,), (items,)."""
    import jiwer

    return _errors(jiwer.process_characters, references, hypotheses)


def speech_scores(
    references: Sequence[str], hypotheses: Sequence[str], languages: Sequence[str]
) -> dict[str, ItemScores]:
    """Score raw transcripts by `wer` and `cer`; one language code per utterance."""
    told = [normalise(text, language) for text, language in zip(references, languages, strict=True)]
    heard = [normalise(text, language) for text, language in zip(hypotheses, languages, strict=True)]
    letters_told = [_letters(text, language) for text, language in zip(told, languages, strict=True)]
    letters_heard = [_letters(text, language) for text, language in zip(heard, languages, strict=True)]
    return {
        "wer": ItemScores("wer", *word_errors(told, heard)),
        "cer": ItemScores("cer", *character_errors(letters_told, letters_heard)),
    }


def word_differences(reference: str, hypothesis: str, language: str) -> tuple[WordDifference, ...]:
    """List every place where two transcripts differ after normalising, in order."""
    import jiwer

    output = jiwer.process_words([normalise(reference, language)], [normalise(hypothesis, language)])
    told, heard = output.references[0], output.hypotheses[0]
    return tuple(
        WordDifference(
            chunk.type,
            " ".join(told[chunk.ref_start_idx : chunk.ref_end_idx]),
            " ".join(heard[chunk.hyp_start_idx : chunk.hyp_end_idx]),
        )
        for chunk in output.alignments[0]
        if chunk.type != "equal"
    )


def _errors(process: Callable[..., Any], references: Sequence[str], hypotheses: Sequence[str]) -> tuple[Floats, Floats]:
    """Count the edits of the best alignment and the length of the reference, per utterance."""
    if len(references) != len(hypotheses):
        raise ValueError(f"{len(references)} references for {len(hypotheses)} hypotheses")
    if not references:
        return np.zeros(0), np.zeros(0)
    output = process(list(references), list(hypotheses))
    errors = [_edits(chunks) for chunks in output.alignments]
    return np.array(errors, dtype=np.float64), np.array([len(told) for told in output.references], dtype=np.float64)


def _edits(chunks: Iterable[Any]) -> int:
    """Count substituted, inserted and deleted units of one alignment."""
    return sum(
        max(chunk.ref_end_idx - chunk.ref_start_idx, chunk.hyp_end_idx - chunk.hyp_start_idx)
        for chunk in chunks
        if chunk.type != "equal"
    )


def _code(language: str) -> str:
    """Cut a language tag to its code: `en-US` -> `en`."""
    return language.lower().replace("_", "-").partition("-")[0]


def _letters(text: str, language: str) -> str:
    """Take back the spaces that the normaliser put between the letters of an unspaced language."""
    return text.replace(" ", "") if _code(language) in UNSPACED else text


@cache
def _normaliser(kind: str) -> Callable[[str], str]:
    """Make one of Whisper's normalisers, once; importing them takes tens of milliseconds."""
    made: Callable[[str], str]
    if kind == "en":
        from whisper_normalizer.english import EnglishTextNormalizer

        made = EnglishTextNormalizer()
    else:
        from whisper_normalizer.basic import BasicTextNormalizer

        made = BasicTextNormalizer(split_letters=kind == "unspaced")
    return made
