"""Speech to text with an encoder that hears a clip once and a decoder that spells it. Knows the task, no family."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from penjing.data.audio import read_sound
from penjing.data.mel import WhisperMel
from penjing.data.speech_prompt import (
    buckets,
    check_language,
    frames_for,
    language_token,
    prompt_tokens,
    silent_frames,
)
from penjing.data.text import open_tokenizer
from penjing.data.windows import windows
from penjing.runtimes.decoding import Banned, Decoder, Spelled, greedy
from penjing.runtimes.engine import Graph
from penjing.runtimes.parts import Parts
from penjing.runtimes.silence import Silence
from penjing.runtimes.stamps import Stamped, stretches
from penjing.values import Array, Arrays, FloatArray

MAX_TOKENS_PER_S = 12
"""Nobody speaks faster than this many word pieces a second; a decoder that does is looping."""

MIN_TOKEN_LIMIT = 24

LONGEST_WINDOW_S = 28.0
"""Longer sound is cut into windows of at most this, or of what the model hears if that is less."""
SHORTEST_WINDOW = 3 / 7
"""Shortest window, as a share of the longest."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of a sound and what was said in it."""

    start_s: float
    end_s: float
    text: str

    def later(self, seconds: float) -> Segment:
        """The same, so much later."""
        return Segment(self.start_s + seconds, self.end_s + seconds, self.text)


@dataclass(frozen=True, slots=True)
class Heard:
    """What was heard in one window: the text, its tokens, the language and the mean log-likelihood of a token.

    `segments` say when, in seconds from where the window begins; there are none where nobody asked for times.
    """

    text: str
    tokens: tuple[int, ...]
    language: str | None
    mean_log_likelihood: float
    segments: tuple[Segment, ...] = ()


@dataclass(frozen=True, slots=True)
class Transcription:
    """What was said in a sound: the text, its language (None where the model knows but one), length and segments."""

    text: str
    language: str | None
    audio_seconds: float
    segments: tuple[Segment, ...]


def joined(windows: Sequence[Transcription]) -> Transcription:
    """What was said in all windows of a sound."""
    segments = tuple(segment for window in windows for segment in window.segments)
    text = " ".join(segment.text for segment in segments if segment.text)
    return Transcription(text, windows[-1].language, sum(window.audio_seconds for window in windows), segments)


class SpeechRunner:
    """Transcribes sound, in windows of at most 30 s."""

    task = "speech-seq2seq"

    def __init__(
        self,
        encoder: Graph,
        decoder: Decoder,
        settings: Mapping[str, Any],
        tokenizer_path: Path,
        silence_cache: Path | None = None,
    ) -> None:
        self.settings = settings
        self.sampling_rate_hz: int = settings["audio"]["sampling_rate"]
        self._encoder, self._decoder = encoder, decoder
        self._mel = WhisperMel(settings["audio"])
        self._tokenizer = open_tokenizer(tokenizer_path)
        generation = settings["generation"]
        self._silence = Silence(self._listen_to_silence, settings["max_frames"], silence_cache)
        self._banned = Banned(generation["suppress"], generation["begin_suppress"])

    @property
    def longest_s(self) -> float:
        """Longest window the model hears."""
        audio = self.settings["audio"]
        return float(self.settings["max_frames"] * audio["hop_length"] / audio["sampling_rate"])

    @property
    def languages(self) -> list[str]:
        """Language codes the model knows; empty for a model of one language."""
        return [*self.settings["generation"]["languages"]]

    @property
    def tells_times(self) -> bool:
        """Whether the model can say when things are said."""
        return self.settings["generation"]["no_timestamps"] is not None

    def transcribe(
        self, sound: str | Path | bytes | FloatArray, language: str | None = None, *, times: bool = False
    ) -> Transcription:
        """Transcribe sound of any length: a path, an encoded file, or mono samples (n,) at `sampling_rate_hz`.

        What is longer than the model hears is cut where it is quietest. One sound, one language: without a given one,
        it is what the model guesses from the first window. A window is a segment; with `times`, a phrase is.
        """
        samples = read_sound(sound, self.sampling_rate_hz)
        return joined([*self.transcribing(samples, language, times=times)])

    def transcribing(
        self, samples: FloatArray, language: str | None = None, *, times: bool = False
    ) -> Iterator[Transcription]:
        """The same window by window, as each is heard; of mono samples (n,)."""
        self.check_language(language)
        longest_s = min(LONGEST_WINDOW_S, self.longest_s)
        for first, last in windows(samples, self.sampling_rate_hz, longest_s, longest_s * SHORTEST_WINDOW):
            heard = self.hear(samples[first:last], language, times=times)
            language = heard.language
            begin_s, end_s = first / self.sampling_rate_hz, last / self.sampling_rate_hz
            found = [part.later(begin_s) for part in heard.segments] or [Segment(begin_s, end_s, heard.text)]
            yield Transcription(heard.text, language, end_s - begin_s, tuple(found))

    def check_language(self, language: str | None) -> None:
        """Refuse a language that the model does not know; None, a language to be guessed, is fine."""
        if language is not None:
            check_language(self.settings["generation"], language)

    def guess_language(self, sound: str | Path | bytes | FloatArray) -> str:
        """Return the code of the language that a multilingual model hears in the first window of a sound."""
        samples = read_sound(sound, self.sampling_rate_hz)
        samples = samples[: int(min(LONGEST_WINDOW_S, self.longest_s) * self.sampling_rate_hz)]
        frames = frames_for(samples.size, self.settings)
        self._decoder.start(self._with_silence(self._listen(samples, frames), frames))
        return self._guess_language()

    def hear(self, samples: FloatArray, language: str | None = None, *, times: bool = False) -> Heard:
        """Transcribe one window of mono samples at `sampling_rate_hz`; without a language the model guesses it.

        A decoder that begins to loop, which it does now and then on little silence, hears the clip once more at the
        model's full length.
        """
        frames = frames_for(samples.size, self.settings)
        heard, spelled = self._spell(samples, frames, language, times)
        if spelled.looped and frames < self.settings["max_frames"]:
            heard, spelled = self._spell(samples, self.settings["max_frames"], language, times)
        clip_s = samples.size / self.sampling_rate_hz
        said = stretches(spelled.tokens, self._first_time, clip_s) if times else []
        segments = tuple(Segment(one.start_s, one.end_s, self._words(one.tokens)) for one in said)
        text = " ".join(one.text for one in segments if one.text) if times else self._words(spelled.tokens)
        return Heard(text, spelled.tokens, heard, spelled.mean_log_likelihood, segments)

    @property
    def _first_time(self) -> int:
        """The token of 0 s, which comes after the one that says: no times."""
        no_times: int = self.settings["generation"]["no_timestamps"]
        return no_times + 1

    def _words(self, tokens: Sequence[int]) -> str:
        text: str = self._tokenizer.decode(list(tokens), skip_special_tokens=True)
        return text.strip()

    def _spell(self, samples: FloatArray, frames: int, language: str | None, times: bool) -> tuple[str | None, Spelled]:
        """Run encoder and decoder once; returns the language spoken, given or guessed, and what was spelled."""
        generation = self.settings["generation"]
        self._decoder.start(self._with_silence(self._listen(samples, frames), frames))
        if generation["languages"] and language is None:
            language = self._guess_language()
        prompt = prompt_tokens(generation, language, times=times)
        limit = generation["max_tokens"] // 2 - len(prompt)
        seconds = samples.size / self.sampling_rate_hz
        limit = min(limit, max(MIN_TOKEN_LIMIT, int(seconds * MAX_TOKENS_PER_S)))
        allowed = Stamped(self._banned, self._first_time, generation["eos"], seconds) if times else self._banned
        return language, greedy(self._decoder, prompt, generation["eos"], limit, allowed)

    def _listen(self, samples: FloatArray, frames: int) -> dict[str, Array]:
        return self._encoder({"input_features": self._mel(samples, frames)[None]})

    def _listen_to_silence(self, frames: int) -> dict[str, Array]:
        return self._listen(np.zeros(1, np.float32), frames)

    def _with_silence(self, heard: Arrays, frames: int) -> dict[str, Array]:
        """Append what the encoder makes of silence at the places after the clip; see SILENCE_S."""
        return self._silence.behind(heard, (frames + silent_frames(frames, self.settings)) // 2)

    def _guess_language(self) -> str:
        """The most likely language token after the start token; the decoder starts afresh afterwards."""
        languages: Mapping[str, int] = self.settings["generation"]["languages"]
        logits = self._decoder.step([self.settings["generation"]["start"]])
        self._decoder.rewind()
        return max(languages, key=lambda code: float(logits[language_token(self.settings["generation"], code)]))

    def warm_up(self, clip_lengths_s: Sequence[float] = ()) -> float:
        """Run the lengths that these clips need (all where none is named) once; returns the seconds it took.

        Engines pay for every new shape; a transcription afterwards does not.
        """
        start = time.perf_counter()
        lengths = {frames_for(int(length * self.sampling_rate_hz), self.settings) for length in clip_lengths_s}
        for frames in sorted(lengths) or [frames for frames, _ in buckets(self.settings)]:
            heard = self._with_silence(self._listen_to_silence(frames), frames)
            self._decoder.start(heard)
            self._decoder.step(prompt_tokens(self.settings["generation"], None))
            self._decoder.step([self.settings["generation"]["eos"]])
        return time.perf_counter() - start


def open_speech(parts: Parts) -> SpeechRunner:
    """The runner of two graphs; what the encoder makes of silence is kept from one time to the next."""
    kept = parts.kept_file("encoder_model", "silence")
    return SpeechRunner(parts.graph("encoder_model"), parts.decoder(), parts.settings, parts.tokenizer_path, kept)
