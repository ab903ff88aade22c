"""Passages that may answer a question: by its words (BM25) and by its meaning (embeddings), merged."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from penjing.data.knowledge import Passage
from penjing.extras import need
from penjing.values import Array, FloatArray

WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|\w+", re.UNICODE)
"""A word; of scripts without spaces, a letter."""
SENTENCE = re.compile(r"(?<=[.!?。！？])\s+|\n+")
STOP = frozenset(
    """a an the and or of to in on for at by with from is are was were be been do does did can could will would should
    may i my me we you your it its this that these those there here what which who how when where why if as not no than
    then so have has had am any some""".split()  # noqa: SIM905
)
"""Words that say little of what is asked. In other languages all words count."""
RARE = 4.77
"""What BM25 gives a word that none of so many passages has as the built-in knowledge is of; in other folders points
are brought to that."""
FOLLOWING = 5
"""The best passage is compared with so many that come after it."""
AT_ONCE = 32
"""Texts that are embedded at a time: all sentences of a large folder at once would take gigabytes."""
BY_WORDS = 0.02
"""What a point of BM25 counts beside a cosine; chosen on the questions that are for choosing."""


def stems(text: str) -> list[str]:
    """Stems of the words of a text that say something."""
    stem = _stemmer()
    return [stem(word) for word in WORD.findall(text.lower()) if word not in STOP]


@cache
def _stemmer() -> Any:
    return need("Stemmer", "assist").Stemmer("english").stemWord


def sentences(text: str) -> list[str]:
    """Sentences and lines of a text."""
    return [part for part in (one.strip() for one in SENTENCE.split(text)) if part]


@dataclass(frozen=True, slots=True)
class Found:
    """A passage, how well it fits, and the cosine and BM25 that this is made of."""

    passage: Passage
    score: float
    cosine: float
    words: float


@dataclass(frozen=True, slots=True)
class Evidence:
    """Passages that were found, best first, and what says whether they answer at all (features,)."""

    found: tuple[Found, ...]
    signs: Array


class Retriever:
    """Finds passages. `model` embeds texts; without one, words alone decide."""

    def __init__(self, passages: Sequence[Passage], model: Any = None) -> None:
        self.passages, self._model = passages, model
        self._words = need("bm25s", "assist").BM25()
        self._words.index([stems(passage.whole) or [""] for passage in passages], show_progress=False)
        self._owners: Array = np.zeros(0, np.int64)
        self._vectors: FloatArray | None = None
        if model is not None:
            self._vectors, self._owners = self._embedded()

    def _embedded(self) -> tuple[FloatArray, Array]:
        """Vectors of whole passages, then of their sentences under their titles, and whose they are."""
        texts = [passage.whole for passage in self.passages]
        owners = [*range(len(texts))]
        for place, passage in enumerate(self.passages):
            parts = [f"{passage.title}: {part}" if passage.title else part for part in sentences(passage.text)]
            texts, owners = texts + parts, owners + [place] * len(parts)
        return self._embed(texts), np.array(owners)

    def _embed(self, texts: Sequence[str]) -> FloatArray:
        parts = [texts[start : start + AT_ONCE] for start in range(0, len(texts), AT_ONCE)]
        return np.concatenate(
            [self._model.embed_read([self._model.read(text, "text") for text in part], "text") for part in parts]
        )

    def find(self, question: str, count: int = 3) -> Evidence:
        """The passages that fit best."""
        asked = stems(question)
        words = self._words.get_scores(asked) if asked else np.zeros(len(self.passages))
        cosines, nearest = self._cosines(question)
        scores = nearest + BY_WORDS * words
        order = np.argsort(-scores, kind="stable")[:count]
        found = tuple(
            Found(self.passages[place], float(scores[place]), float(nearest[place]), float(words[place]))
            for place in order
        )
        return Evidence(found, self._signs(cosines, nearest, words))

    def _cosines(self, question: str) -> tuple[FloatArray, FloatArray]:
        """Cosine of each whole passage, and the largest of it and of its sentences."""
        count = len(self.passages)
        if self._vectors is None:
            return np.zeros(count, np.float32), np.zeros(count, np.float32)
        every = self._vectors @ self._embed([question])[0]
        nearest = np.full(count, -1.0, np.float32)
        np.maximum.at(nearest, self._owners, every)
        return every[:count], nearest

    def _signs(self, cosines: FloatArray, nearest: FloatArray, words: Array) -> Array:
        """What an answer shows by: the best cosine, the best BM25, and how far the best stands out."""
        words = words * (RARE / self._rarest)
        ranked = np.sort(nearest if self._vectors is not None else words)[::-1]
        lead = ranked[0] - ranked[1 : 1 + FOLLOWING].mean() if len(ranked) > 1 else ranked[0]
        return np.array([cosines.max(), np.log1p(max(0.0, float(words.max()))), lead])

    @property
    def _rarest(self) -> float:
        """The same of these passages: BM25 gives more points where there are more, however well one fits."""
        return float(np.log(1 + (len(self.passages) + 0.5) / 0.5))
