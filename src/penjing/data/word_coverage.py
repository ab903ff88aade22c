"""How much of a text a tokenizer has words for: its model does not know a language whose words it breaks to pieces."""

from __future__ import annotations

import re
from functools import cached_property

from penjing.data.text import SafeTokenizer

WITHOUT_SPACES = r"\u3040-\u30ff\u3400-\u9fff"
"""Kana and Chinese characters."""
WORD = re.compile(rf"[{WITHOUT_SPACES}]|[^\W\d_{WITHOUT_SPACES}]+")
"""A word of letters; of scripts without spaces, a character."""
CHARACTERS = re.compile(f"[{WITHOUT_SPACES}]")
FEWEST_CHARACTERS = 2000
"""Who reads Chinese or Japanese knows some thousand characters; the vocabulary of BERT for English has 338."""
FEWEST_KNOWN = 0.45
"""Share of the letters in whole words below which a text is in an unknown language.

Tokenizer of all-MiniLM-L6-v2 (English BERT), sentences of the built-in texts: 98% of 140 English questions are above;
95% of German, 88% of Spanish, half of the French, and all Portuguese, Chinese and Russian ones are below.
"""


class WordCoverage:
    """Shares of texts that a tokenizer has whole words for.

    Args:
        tokenizer: of the model that reads the texts.
        lower: whether texts are lower-cased before they are tokenized.
    """

    def __init__(self, tokenizer: SafeTokenizer, lower: bool) -> None:
        self._tokenizer, self._lower = tokenizer, lower

    def known_share(self, text: str) -> float:
        """Return the share of a text's letters that stand in words known whole, 0 to 1; 1 without letters.

        A word is known whole where it is one token, at the beginning of a text or behind a space, and not unknown.
        """
        words = WORD.findall(text.lower() if self._lower else text)
        total = sum(map(len, words))
        return sum(len(word) for word in words if self._is_known(word)) / total if total else 1.0

    def note(self, text: str) -> str | None:
        """Say that a text is probably in a language that the model does not know; None where it is not."""
        share = self.known_share(text)
        if share >= FEWEST_KNOWN:
            return None
        return f"the model has words for {share:.0%} of the query: it may not know its language, so expect chance hits"

    def _is_known(self, word: str) -> bool:
        if CHARACTERS.match(word) and self._character_count < FEWEST_CHARACTERS:
            return False
        unknown = getattr(self._tokenizer.model, "unk_token", None)
        for form in (word, f" {word}"):
            encoding = self._tokenizer.encode(form, add_special_tokens=False)
            columns = zip(encoding.tokens, encoding.attention_mask, encoding.offsets, strict=True)
            tokens = [token for token, is_read, (start, end) in columns if is_read and form[start:end].strip()]
            if len(tokens) == 1 and tokens[0] != unknown:
                return True
        return False

    @cached_property
    def _character_count(self) -> int:
        """Characters of scripts without spaces in the vocabulary."""
        numbers = [[number] for number in sorted(self._tokenizer.get_vocab().values())]
        return len({*CHARACTERS.findall("".join(self._tokenizer.decode_batch(numbers, skip_special_tokens=False)))})
