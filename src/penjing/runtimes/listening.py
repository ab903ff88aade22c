"""Sound of any length, heard window by window: where a window begins and ends, and what is made of its times."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from penjing.data.windows import Cutter
from penjing.runtimes.spoken_language import SpokenLanguage
from penjing.runtimes.transcription import (
    LONGEST_WINDOW_S,
    NO_FILTER,
    NOTHING,
    SHORTEST_WINDOW,
    SPEECH_FILTER,
    Heard,
    SpeechFilter,
    Transcription,
)
from penjing.runtimes.voice_activity import Span, clipped_to_speech, speech_after
from penjing.values import FloatArray

if TYPE_CHECKING:
    from penjing.runtimes.speech import SpeechRunner

MIN_PROGRESS_S = 1.0
"""A window of which less was written down than this is heard once more, without times."""
MIN_BEGUN_S = 0.1
"""Speech behind the beginning of a phrase without words, from which on it is heard again."""
MIN_UNWRITTEN_S = 1.0
"""The same behind the end of a phrase: models tell ends too early by some tenths of a second."""
LEAD_S = 0.2
"""A window begins so much before the first speech in it."""


class Listener:
    """Hears the windows of one recording, or of one stream, one after the other."""

    def __init__(
        self,
        runner: SpeechRunner,
        language: str | None = None,
        *,
        times: bool = False,
        speech_filter: SpeechFilter = SPEECH_FILTER,
        task: str = "transcribe",
    ) -> None:
        runner.check_language(language)
        self._runner, self._filter, self._times, self._task = runner, speech_filter, times, task
        self._spoken = SpokenLanguage(language)
        self._rate_hz = runner.sampling_rate_hz

    def window(self, samples: FloatArray, *, settled: bool = True) -> Heard:
        """Hear mono samples (n,), no more than the model hears at once.

        What is not settled will be heard again and has no say in the language of what comes next.
        """
        spoken = self._spoken if settled else self._spoken.copy()
        return self._runner.hear(samples, spoken, speech_filter=self._filter, task=self._task)

    def whole(self, samples: FloatArray) -> Iterator[Transcription]:
        """Hear all of a recording (n,): one transcription per window."""
        longest_s = min(LONGEST_WINDOW_S, self._runner.longest_s)
        cutter = Cutter(samples, self._rate_hz, longest_s, longest_s * SHORTEST_WINDOW)
        begin = 0
        while begin < samples.size:
            end = cutter.end_of(begin)
            if self._times:
                found, end = self._phrases(samples, begin, end)
            else:
                found = self._one_segment(self.window(samples[begin:end]), begin, end)
            yield found
            begin = end

    def _one_segment(self, heard: Heard, begin: int, end: int) -> Transcription:
        """A window as one segment; none where nobody speaks."""
        start_s, end_s = begin / self._rate_hz, end / self._rate_hz
        segments = (heard.segment(start_s, end_s),) if heard.has_speech else ()
        return Transcription(heard.text, heard.language or self._spoken.given, end_s - start_s, segments)

    def _phrases(self, samples: FloatArray, begin: int, end: int) -> tuple[Transcription, int]:
        """A window in phrases, and where the next one begins: where the model left off.

        A phrase that goes on behind the window has a beginning and no words in this one (Radford et al. 2022,
        arXiv:2212.04356, section 2.3): it is written down in the next.
        """
        window = samples[begin:end]
        spans = [Span(0.0, window.size / self._rate_hz)]
        if self._filter.vad_filter:
            spans = self._runner.voice_spans(window)
        if not spans:
            return Transcription("", self._spoken.given, window.size / self._rate_hz, ()), end
        lead = max(0, int((spans[0].start_s - LEAD_S) * self._rate_hz))
        heard, last = self._with_times(window[lead:], [_earlier(span, lead / self._rate_hz) for span in spans])
        next_begin = end if last is None else begin + lead + last
        placed = [segment.later(lead / self._rate_hz) for segment in heard.segments]
        segments = tuple(
            replace(segment, start_s=begin / self._rate_hz + start_s, end_s=begin / self._rate_hz + end_s)
            for segment in placed
            for start_s, end_s in [clipped_to_speech(segment.start_s, segment.end_s, spans)]
        )
        return Transcription(heard.text, heard.language, (next_begin - begin) / self._rate_hz, segments), next_begin

    def _with_times(self, window: FloatArray, spans: list[Span]) -> tuple[Heard, int | None]:
        """What is said in a window, and the sample at which the model left off; None where it went to the end."""
        asked = NO_FILTER if self._filter.vad_filter else self._filter
        heard = self._runner.hear(window, self._spoken, times=True, speech_filter=asked, task=self._task)
        end = heard.left_off
        if end is None or speech_after(spans, end.time_s) < (MIN_BEGUN_S if end.begun else MIN_UNWRITTEN_S):
            return heard, None
        if end.time_s >= MIN_PROGRESS_S and heard.text:
            return heard, int(end.time_s * self._rate_hz)
        again = self._runner.hear(window, self._spoken, speech_filter=asked, task=self._task)
        if not again.has_speech:
            return NOTHING, None
        return replace(again, segments=(again.segment(spans[0].start_s, spans[-1].end_s),)), None


def _earlier(span: Span, seconds: float) -> Span:
    return Span(max(0.0, span.start_s - seconds), span.end_s - seconds)
