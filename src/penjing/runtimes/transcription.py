"""What a speech runner is asked and what it gives: windows, segments, transcriptions, and what counts as speech."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from penjing.runtimes.stamps import LeftOff

LONGEST_WINDOW_S = 28.0
"""Longer sound is cut into windows of at most this, or of what the model hears if that is less."""
SHORTEST_WINDOW = 3 / 7
"""Shortest window, as a share of the longest."""


@dataclass(frozen=True, slots=True)
class SpeechFilter:
    """What keeps sound without speech from being transcribed; names and defaults as in faster-whisper.

    Args:
        vad_filter: Ask a voice activity detector where the model itself is in doubt whether somebody speaks.
        no_speech_threshold: A window whose no-speech probability is above this, and whose mean log-likelihood of a
            token is below `log_prob_threshold`, has no text, unless the detector hears a voice. None for no such rule.
        log_prob_threshold: See there.
    """

    vad_filter: bool = True
    no_speech_threshold: float | None = 0.6
    log_prob_threshold: float | None = -1.0

    def rejects(self, no_speech: float, mean_log_likelihood: float) -> bool:
        """Whether a window of these two has no speech (Radford et al. 2022, arXiv:2212.04356, section 4.5)."""
        if self.no_speech_threshold is None or no_speech <= self.no_speech_threshold:
            return False
        return self.log_prob_threshold is None or mean_log_likelihood < self.log_prob_threshold


SPEECH_FILTER = SpeechFilter()
NO_FILTER = SpeechFilter(vad_filter=False, no_speech_threshold=None)
"""Of what is known to hold speech, such as rows that are judged."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of a sound and what was said in it; the language where the model knows several.

    `tokens` spell the text. `mean_log_likelihood` is that of a token, `no_speech` the probability that nobody speaks,
    both of the window that the stretch is in; None where the model has no such number.
    """

    start_s: float
    end_s: float
    text: str
    language: str | None = None
    tokens: tuple[int, ...] = ()
    mean_log_likelihood: float | None = None
    no_speech: float | None = None

    def later(self, seconds: float) -> Segment:
        """The same, so much later."""
        return replace(self, start_s=self.start_s + seconds, end_s=self.end_s + seconds)


@dataclass(frozen=True, slots=True)
class Heard:
    """What was heard in one window: the text, its tokens, the language, the mean log-likelihood of a token, and the
    probability that nobody speaks.

    `segments` say when, in seconds from where the window begins; there are none where nobody asked for times.
    `left_off` is where the model stopped writing before the end of the window. `has_speech` is False where nobody
    speaks; the text is empty then, and the language None.
    """

    text: str
    tokens: tuple[int, ...]
    language: str | None
    mean_log_likelihood: float
    segments: tuple[Segment, ...] = ()
    left_off: LeftOff | None = None
    has_speech: bool = True
    no_speech: float | None = None

    def segment(self, start_s: float, end_s: float) -> Segment:
        """All of it as one segment from and to these seconds."""
        score, no_speech = self.mean_log_likelihood, self.no_speech
        return Segment(start_s, end_s, self.text, self.language, self.tokens, score, no_speech)


NOTHING = Heard("", (), None, 0.0, has_speech=False)


@dataclass(frozen=True, slots=True)
class Transcription:
    """What was said in a sound: the text, its language, length and segments.

    The language is the one most is said in; None where the model knows but one, and where nobody speaks and none is
    given.
    """

    text: str
    language: str | None
    audio_seconds: float
    segments: tuple[Segment, ...]


def joined(windows: Sequence[Transcription]) -> Transcription:
    """What was said in all windows of a sound."""
    segments = tuple(segment for window in windows for segment in window.segments)
    text = " ".join(segment.text for segment in segments if segment.text)
    seconds: Counter[str] = Counter()
    for window in windows:
        if window.language is not None and window.text:
            seconds[window.language] += window.audio_seconds  # type: ignore[assignment]
    language = max(seconds, key=lambda code: seconds[code]) if seconds else windows[-1].language
    return Transcription(text, language, sum(window.audio_seconds for window in windows), segments)
