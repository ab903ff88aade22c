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
from penjing.runtimes.decoding import Banned, Decoder, Spelled, log_sum_exp, spelled_from
from penjing.runtimes.engine import Graph
from penjing.runtimes.listening import Listener
from penjing.runtimes.parts import Parts
from penjing.runtimes.silence import Silence
from penjing.runtimes.spoken_language import SpokenLanguage
from penjing.runtimes.stamps import Stamped, left_off, stretches
from penjing.runtimes.transcription import (
    LONGEST_WINDOW_S,
    NOTHING,
    SHORTEST_WINDOW,
    SPEECH_FILTER,
    Heard,
    Segment,
    SpeechFilter,
    Transcription,
    joined,
)
from penjing.runtimes.voice_activity import Span, VoiceActivity
from penjing.values import Array, Arrays, FloatArray

MAX_TOKENS_PER_S = 12
"""Nobody speaks faster than this many word pieces a second; a decoder that does is looping."""

MIN_TOKEN_LIMIT = 24

NO_SPEECH_TOKENS = ("<|nospeech|>", "<|nocaptions|>")
"""The token whose probability at the start of a window says that nobody speaks, by the names it has had."""

SURE_OF_SPEECH = 0.15
"""A no-speech probability up to here needs no second opinion. Whisper tiny.en gives half of FLEURS less, base most of
it; silence, noise, hum, tones and music get 0.79 and more of both, and short commands of people anything between."""


@dataclass(frozen=True, slots=True)
class Start:
    """What the decoder makes of a window before it writes: the probability that nobody speaks, and of each language.

    `prompt` are the tokens that it has read, `logits` (vocabulary,) what it says after them.
    """

    no_speech: float
    languages: Mapping[str, float]
    prompt: Sequence[int]
    logits: FloatArray


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
        numbers = [self._tokenizer.token_to_id(name) for name in NO_SPEECH_TOKENS]
        self._no_speech: int | None = next((number for number in numbers if number is not None), None)
        self._voice: VoiceActivity | None = None

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
    def tasks(self) -> list[str]:
        """What it can do with what is said: `transcribe`, `translate` into English; a model of one language, nothing
        else than write it down.
        """
        return [*self.settings["generation"]["tasks"]] if self.languages else ["transcribe"]

    @property
    def tells_times(self) -> bool:
        """Whether the model can say when things are said."""
        return self.settings["generation"]["no_timestamps"] is not None

    def transcribe(
        self,
        sound: str | Path | bytes | FloatArray,
        language: str | None = None,
        *,
        times: bool = False,
        speech_filter: SpeechFilter = SPEECH_FILTER,
    ) -> Transcription:
        """Transcribe sound of any length: a path, an encoded file, or mono samples (n,) at `sampling_rate_hz`.

        What is longer than the model hears is cut where it is quietest. Without a given language each window is in the
        one that the model makes likeliest; a window in which nobody speaks has no text and decides nothing. A window is
        a segment; with `times`, a phrase is.
        """
        samples = read_sound(sound, self.sampling_rate_hz)
        return joined([*self.transcribing(samples, language, times=times, speech_filter=speech_filter)])

    def transcribing(
        self,
        samples: FloatArray,
        language: str | None = None,
        *,
        times: bool = False,
        speech_filter: SpeechFilter = SPEECH_FILTER,
        task: str = "transcribe",
    ) -> Iterator[Transcription]:
        """The same window by window, as each is heard; of mono samples (n,). The `task` is one of `tasks`."""
        return Listener(self, language, times=times, speech_filter=speech_filter, task=task).whole(samples)

    def listener(self, language: str | None = None, *, speech_filter: SpeechFilter = SPEECH_FILTER) -> Listener:
        """What hears a stream of windows."""
        return Listener(self, language, speech_filter=speech_filter)

    def check_language(self, language: str | None) -> None:
        """Refuse a language that the model does not know; None, a language to be guessed, is fine."""
        if language is not None:
            check_language(self.settings["generation"], language)

    def guess_language(self, sound: str | Path | bytes | FloatArray) -> str:
        """Return the code of the language that a multilingual model hears: of the first window in which somebody
        speaks, of the first of all where nobody does.
        """
        samples = read_sound(sound, self.sampling_rate_hz)
        longest_s = min(LONGEST_WINDOW_S, self.longest_s)
        guesses: list[str] = []
        for first, last in windows(samples, self.sampling_rate_hz, longest_s, longest_s * SHORTEST_WINDOW):
            start = self._begin(samples[first:last], frames_for(last - first, self.settings))
            guesses.append(max(start.languages, key=lambda code: start.languages[code]))
            if self._voiced(samples[first:last], start.no_speech, SPEECH_FILTER) is not False:
                return guesses[-1]
        return guesses[0]

    def hear(
        self,
        samples: FloatArray,
        language: str | SpokenLanguage | None = None,
        *,
        times: bool = False,
        speech_filter: SpeechFilter = SPEECH_FILTER,
        task: str = "transcribe",
    ) -> Heard:
        """Transcribe one window of mono samples at `sampling_rate_hz`; without a language the model guesses it.

        A decoder that begins to loop, which it does now and then on little silence, hears the clip once more at the
        model's full length.
        """
        spoken = language if isinstance(language, SpokenLanguage) else SpokenLanguage(language)
        generation = self.settings["generation"]
        for frames in (frames_for(samples.size, self.settings), int(self.settings["max_frames"])):
            start = self._begin(samples, frames, self._known_prompt(spoken, times, task))
            voiced = self._voiced(samples, start.no_speech, speech_filter)
            if voiced is False:
                return NOTHING
            code = spoken.of_window(start.languages)
            spelled = self._spell(samples, start, prompt_tokens(generation, code, task, times=times), times=times)
            if not spelled.looped:
                break
        if voiced is None and speech_filter.rejects(start.no_speech, spelled.mean_log_likelihood):
            return NOTHING
        spoken.add(start.languages)
        return self._told(spelled, start.no_speech, code, samples.size / self.sampling_rate_hz if times else None)

    def voice_spans(self, samples: FloatArray) -> list[Span]:
        """Where somebody speaks in mono samples (n,) at `sampling_rate_hz`."""
        self._voice = self._voice or VoiceActivity()
        return self._voice.spans(samples, self.sampling_rate_hz)

    def _voiced(self, samples: FloatArray, no_speech: float, speech_filter: SpeechFilter) -> bool | None:
        """Whether the detector hears a voice in a window; None where it is not asked: the model is sure of speech."""
        if no_speech <= SURE_OF_SPEECH or not speech_filter.vad_filter:
            return None
        return bool(self.voice_spans(samples))

    def _told(self, spelled: Spelled, no_speech: float, language: str | None, clip_s: float | None) -> Heard:
        """What was spelled as text, and where times were asked for (of a clip of so many seconds) as segments."""
        score = spelled.mean_log_likelihood
        if clip_s is None:
            return Heard(self._words(spelled.tokens), spelled.tokens, language, score, no_speech=no_speech)
        segments = tuple(
            Segment(part.start_s, part.end_s, self._words(part.tokens), language, part.tokens, score, no_speech)
            for part in stretches(spelled.tokens, self._first_time, clip_s)
        )
        text = " ".join(segment.text for segment in segments if segment.text)
        end = left_off(spelled.tokens, self._first_time)
        return Heard(text, spelled.tokens, language, score, segments, end, no_speech=no_speech)

    @property
    def _first_time(self) -> int:
        """The token of 0 s, which comes after the one that says: no times."""
        no_times: int = self.settings["generation"]["no_timestamps"]
        return no_times + 1

    def _words(self, tokens: Sequence[int]) -> str:
        text: str = self._tokenizer.decode(list(tokens), skip_special_tokens=True)
        return text.strip()

    def _known_prompt(self, spoken: SpokenLanguage, times: bool, task: str) -> Sequence[int]:
        """As much of a window's prompt as is known before its language is: all of it, where that is given."""
        generation = self.settings["generation"]
        if self.languages and spoken.given is None:
            return [generation["start"]]
        return prompt_tokens(generation, spoken.given, task, times=times)

    def _begin(self, samples: FloatArray, frames: int, prompt: Sequence[int] = ()) -> Start:
        """Let the decoder attend to a window and read the start of its prompt, the start token at least."""
        return self._begin_with(self._with_silence(self._listen(samples, frames), frames), prompt)

    def _begin_with(self, context: Arrays, prompt: Sequence[int] = ()) -> Start:
        """The same of what the encoder made of a window."""
        generation = self.settings["generation"]
        prompt = prompt or [generation["start"]]
        self._decoder.start(context)
        every = self._decoder.read(prompt)
        logits, last = every[0].copy(), every[-1].copy()
        no_speech = 1.0 if self._no_speech is None else float(np.exp(logits[self._no_speech] - log_sum_exp(logits)))
        codes = [*generation["languages"]]
        among = logits[[language_token(generation, code) for code in codes]]
        shares = np.exp(among - log_sum_exp(among)) if codes else among
        return Start(no_speech, dict(zip(codes, shares.tolist(), strict=True)), prompt, last)

    def _spell(self, samples: FloatArray, start: Start, prompt: Sequence[int], *, times: bool) -> Spelled:
        """Write down the window that the decoder attends to, once it has read the rest of the prompt."""
        generation = self.settings["generation"]
        rest = prompt[len(start.prompt) :]
        logits = self._decoder.step(rest) if rest else start.logits
        limit = generation["max_tokens"] // 2 - len(prompt)
        seconds = samples.size / self.sampling_rate_hz
        limit = min(limit, max(MIN_TOKEN_LIMIT, int(seconds * MAX_TOKENS_PER_S)))
        allowed = Stamped(self._banned, self._first_time, generation["eos"], seconds) if times else self._banned
        return spelled_from(self._decoder, logits, generation["eos"], limit, allowed)

    def _listen(self, samples: FloatArray, frames: int) -> dict[str, Array]:
        return self._encoder({"input_features": self._mel(samples, frames)[None]})

    def _listen_to_silence(self, frames: int) -> dict[str, Array]:
        return self._listen(np.zeros(1, np.float32), frames)

    def _with_silence(self, heard: Arrays, frames: int) -> dict[str, Array]:
        """Append what the encoder makes of silence at the places after the clip; see SILENCE_S."""
        return self._silence.behind(heard, (frames + silent_frames(frames, self.settings)) // 2)

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
