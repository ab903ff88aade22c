"""Whole recordings: windows without speech, languages that change, words at the ends of windows, cues and pauses."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from penjing.runtimes.listening import Listener
from penjing.runtimes.spoken_language import SpokenLanguage
from penjing.runtimes.stamps import LeftOff, left_off
from penjing.runtimes.transcription import NO_FILTER, NOTHING, Heard, Segment, SpeechFilter
from penjing.runtimes.voice_activity import CHUNK_S, Span, VoiceActivity, clipped_to_speech, spans_of, speech_after

pytestmark = pytest.mark.shop

RATE_HZ = 100
"""Of the made-up runner: its samples are numbers of words, and nothing else depends on it."""


def test_spans_of_probabilities_by_hand():
    seconds = round(0.5 / CHUNK_S)
    probabilities = np.array([0.1] * 3 + [0.9, 0.4, 0.9] + [0.2] * seconds + [0.4, 0.6], np.float32)
    first, second = spans_of(probabilities, 0.9)
    assert (first.start_s, first.end_s) == pytest.approx((3 * CHUNK_S, 6 * CHUNK_S))
    assert (second.start_s, second.end_s) == pytest.approx(((7 + seconds) * CHUNK_S, (8 + seconds) * CHUNK_S))
    assert spans_of(np.array([0.9, 0.1, 0.1, 0.9], np.float32), 0.1) == [Span(0.0, 0.1)], "a short pause ends nothing"
    assert spans_of(np.full(9, 0.49, np.float32), 1.0) == []


def test_what_sounds_and_does_not_speak_has_no_span():
    rng, times = np.random.default_rng(0), np.arange(3 * 16000) / 16000
    voice = VoiceActivity()
    for sound in (
        np.zeros(48000),
        rng.normal(0, 0.001, 48000),
        rng.normal(0, 0.1, 48000),
        0.3 * np.sin(2 * np.pi * 440 * times),
        0.1 * np.sin(2 * np.pi * 50 * times) + 0.05 * np.sin(2 * np.pi * 150 * times),
        np.full(5, 0.1),
    ):
        assert voice.spans(sound.astype(np.float32)) == []


def test_probabilities_do_not_depend_on_what_was_heard_before():
    rng = np.random.default_rng(0)
    sound, other = (rng.normal(0, 0.1, 5000).astype(np.float32) for _ in range(2))
    voice = VoiceActivity()
    first = voice.probabilities(sound)
    voice.probabilities(other)
    assert np.array_equal(voice.probabilities(sound), first)
    assert np.array_equal(VoiceActivity().probabilities(sound), first)
    assert len(voice.probabilities(sound, 8000)) == 20  # of 512 samples at 16 kHz, the last one padded


def test_a_cue_begins_and_ends_with_speech():
    spans = [Span(1.0, 2.0), Span(3.0, 4.0)]
    assert clipped_to_speech(0.0, 2.5, spans) == (1.0, 2.0)
    assert clipped_to_speech(2.2, 9.0, spans) == (3.0, 4.0)
    assert clipped_to_speech(1.5, 3.5, spans) == (1.5, 3.5)
    assert clipped_to_speech(5.0, 6.0, spans) == (5.0, 6.0), "no speech inside: as the model says"
    assert speech_after(spans, 1.5) == pytest.approx(1.5)


def test_where_a_model_left_off():
    first = 100
    assert left_off([], first) is None
    assert left_off([100, 5, 6], first) is None
    assert left_off([100, 5, 150], first) == LeftOff(1.0, begun=False)
    assert left_off([100, 5, 150, 160], first) == LeftOff(pytest.approx(1.2), begun=True)
    assert left_off([110], first) == LeftOff(pytest.approx(0.2), begun=True)


def test_a_certain_window_decides_its_language_and_an_uncertain_one_asks_the_others():
    spoken = SpokenLanguage()
    german, english, unsure = {"de": 0.9, "en": 0.1}, {"de": 0.2, "en": 0.8}, {"de": 0.3, "en": 0.45}
    assert spoken.of_window(unsure) == "en"
    spoken.add(german)
    assert spoken.of_window(unsure) == "de"
    assert spoken.of_window(english) == "en"
    twin = spoken.copy()
    twin.add(english)
    twin.add(english)
    assert (twin.of_window(unsure), spoken.of_window(unsure)) == ("en", "de")
    assert SpokenLanguage("fr").of_window(german) == "fr"
    assert SpokenLanguage().of_window({}) is None


def test_whispers_own_rule():
    assert SpeechFilter().rejects(0.7, -1.1)
    assert not SpeechFilter().rejects(0.7, -0.9)
    assert not SpeechFilter().rejects(0.5, -9.0)
    assert SpeechFilter(log_prob_threshold=None).rejects(0.7, -0.1)
    assert not NO_FILTER.rejects(1.0, -9.0)


@dataclass
class Reader:
    """A runner that writes down one word per second of speech; `left` says where it leaves a window by its length."""

    sampling_rate_hz = RATE_HZ
    longest_s = 30.0
    speech: list[Span] = field(default_factory=list)
    left: dict[float, LeftOff] = field(default_factory=dict)
    heard: list[tuple[float, float, bool]] = field(default_factory=list)

    def check_language(self, language: str | None) -> None:
        pass

    def sound(self, seconds: float) -> np.ndarray:
        """Samples that say when they are."""
        return np.arange(int(seconds * RATE_HZ), dtype=np.float32)

    def _within(self, samples: np.ndarray) -> tuple[float, float]:
        return float(samples[0]) / RATE_HZ, (float(samples[-1]) + 1) / RATE_HZ

    def voice_spans(self, samples: np.ndarray) -> list[Span]:
        start_s, end_s = self._within(samples)
        inside = [Span(max(one.start_s, start_s), min(one.end_s, end_s)) for one in self.speech]
        return [Span(one.start_s - start_s, one.end_s - start_s) for one in inside if one.end_s > one.start_s]

    def hear(self, samples: Any, spoken: Any, *, times: bool = False, **options: Any) -> Heard:
        start_s, end_s = self._within(samples)
        self.heard.append((start_s, end_s, times))
        spans = self.voice_spans(samples)
        if not spans:
            return NOTHING
        left = self.left.get(start_s) if times else None
        until_s = end_s - start_s if left is None else left.time_s
        words = [f"{start_s + second:.0f}" for second in range(int(until_s)) if speech_after(spans, second) > 0]
        segment = Segment(0.0, until_s, " ".join(words))
        segments = (segment,) if times and words else ()
        return Heard(" ".join(words), (), None, 0.0, segments, left)


def parts(reader: Reader, seconds: float, **options: Any) -> list[Any]:
    return [*Listener(reader, **options).whole(reader.sound(seconds))]  # type: ignore[arg-type]


def test_without_times_windows_touch_and_one_without_speech_is_no_segment():
    reader = Reader([Span(0.0, 10.0), Span(70.0, 80.0)])
    found = parts(reader, 80.0)
    assert [round(one.audio_seconds, 2) for one in found] == [end - start for start, end, _ in reader.heard]
    assert sum(one.audio_seconds for one in found) == pytest.approx(80.0)
    assert "" in [one.text for one in found]
    assert all(bool(one.segments) == bool(one.text) for one in found)


def test_a_phrase_that_a_window_leaves_off_is_written_down_in_the_next():
    reader = Reader([Span(0.0, 60.0)], {0.0: LeftOff(10.0, begun=True)})
    found = parts(reader, 60.0, times=True)
    assert next(end for _, end, _ in reader.heard) > 10.0
    assert [start for start, _, _ in reader.heard][1] == 10.0
    words = " ".join(one.text for one in found).split()
    assert words == [str(second) for second in range(60)], "no word is lost and none is said twice"
    assert sum(one.audio_seconds for one in found) == pytest.approx(60.0)


def test_what_is_left_off_at_the_very_end_is_heard_as_well():
    reader = Reader([Span(0.0, 25.0)], {0.0: LeftOff(20.0, begun=True)})
    assert " ".join(one.text for one in parts(reader, 25.0, times=True)).split()[-1] == "24"


def test_an_end_that_is_told_some_tenths_too_early_repeats_nothing():
    reader = Reader([Span(0.0, 25.0)], {0.0: LeftOff(24.5, begun=False)})
    assert len(parts(reader, 25.0, times=True)) == 1


def test_a_window_of_which_no_word_was_written_is_heard_without_times():
    reader = Reader([Span(2.0, 9.0)], {1.8: LeftOff(0.1, begun=True)})
    (found,) = parts(reader, 10.0, times=True)
    assert [times for _, _, times in reader.heard] == [True, False]
    assert found.text
    assert (found.segments[0].start_s, found.segments[0].end_s) == (2.0, 9.0)


def test_cues_do_not_begin_in_a_pause():
    reader = Reader([Span(6.0, 9.0)])
    (found,) = parts(reader, 20.0, times=True)
    assert [(one.start_s, one.end_s) for one in found.segments] == [(6.0, 9.0)]
    assert reader.heard[0][0] == pytest.approx(5.8), "a window begins just before the first speech in it"


def test_a_recording_of_silence_is_not_even_decoded_where_times_are_asked_for():
    reader = Reader([])
    found = parts(reader, 40.0, times=True)
    assert reader.heard == []
    assert [one.text for one in found] == [""] * len(found)
    assert sum(one.audio_seconds for one in found) == pytest.approx(40.0)
