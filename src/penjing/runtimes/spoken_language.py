"""Which language a recording is in, window by window."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

DETECTION_THRESHOLD = 0.5
"""Probability from which a window decides its language alone, as `language_detection_threshold` of faster-whisper."""


class SpokenLanguage:
    """The language of each window: a given one, or what the model makes likeliest.

    A window that is certain decides for itself, so that a recording may change its language. One that is not takes what
    all windows with speech so far, itself among them, make likeliest together.
    """

    def __init__(self, language: str | None = None) -> None:
        self.given = language
        self._evidence: Counter[str] = Counter()

    def of_window(self, probabilities: Mapping[str, float]) -> str | None:
        """The language of a window, from the probability of each code; None for a model of one language."""
        if self.given is not None or not probabilities:
            return self.given
        best = max(probabilities, key=lambda code: probabilities[code])
        if probabilities[best] >= DETECTION_THRESHOLD:
            return best
        together = Counter(self._evidence)
        together.update(dict(probabilities))
        return max(probabilities, key=lambda code: together[code])

    def add(self, probabilities: Mapping[str, float]) -> None:
        """Remember a window in which somebody spoke."""
        self._evidence.update(dict(probabilities))

    def copy(self) -> SpokenLanguage:
        """Another one that knows as much; what it learns stays its own."""
        twin = SpokenLanguage(self.given)
        twin._evidence.update(self._evidence)
        return twin
