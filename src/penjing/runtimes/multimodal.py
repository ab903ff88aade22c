"""Pictures, texts and sounds in one model: compared, captioned, asked about, written down. Knows the task, no family.

Each modality has a graph that gives its tokens and its embedding; a fusion makes of all tokens what the decoder listens
to.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from penjing.data.audio import read_sound
from penjing.data.formats import media_of
from penjing.data.image import ImageFrontEnd
from penjing.data.normal_mel import NormalMel
from penjing.data.speech_prompt import check_language
from penjing.data.text import TextFrontEnd, check_plain, count_tokens, open_tokenizer, special_tokens
from penjing.data.windows import windows
from penjing.data.word_coverage import WordCoverage
from penjing.errors import DataError, Silent
from penjing.runtimes.decoding import Decoder, DecoderPool, greedy, written_tokens
from penjing.runtimes.embedding import (
    check_modality,
    check_text,
    embed_in_batches,
    listed,
    modality_of,
    pixels_of,
    unit,
)
from penjing.runtimes.engine import Graph
from penjing.runtimes.parts import Parts
from penjing.runtimes.pieces import pieces_of, until
from penjing.runtimes.sampling import PLAIN, Style
from penjing.runtimes.transcription import (
    SHORTEST_WINDOW,
    SPEECH_FILTER,
    Segment,
    SpeechFilter,
    Transcription,
    joined,
)
from penjing.runtimes.voice_activity import VoiceActivity
from penjing.values import Array, FloatArray

GRAPHS = {"image": "vision_model", "text": "text_model", "audio": "audio_model", "fusion": "fusion_model"}


class MultimodalRunner:
    """Embeds, captions, answers and transcribes, one item at a time."""

    task = "multimodal"
    tells_times = False
    modalities = ("image", "text", "audio")

    def __init__(
        self, graphs: Mapping[str, Graph], decoder: Decoder, settings: Mapping[str, Any], tokenizer_path: Path
    ) -> None:
        self.settings = settings
        self.sampling_rate_hz: int = settings["audio"]["sampling_rate"]
        self.languages: list[str] = []
        self.graphs, self._decoders = graphs, DecoderPool(decoder)
        self._see, self._hear = ImageFrontEnd(settings["image"]), NormalMel(settings["audio"])
        self._read = TextFrontEnd(tokenizer_path, settings["text"])
        self.word_coverage = WordCoverage(self._read.tokenizer, self._read.lower)
        self._words = open_tokenizer(tokenizer_path)
        self._voice: VoiceActivity | None = None

    @property
    def longest_s(self) -> float:
        """Longest sound the model hears."""
        return float(self.settings["audio"]["longest_s"])

    def embed(self, items: Sequence[Any], modality: str | None = None) -> FloatArray:
        """Items of one modality (text, image or audio) -> (items, width) unit vectors.

        Unless the modality is named, strings are texts, samples and files of sounds are sounds, PIL images and files of
        images are pictures.
        """
        items = listed(items, "items")
        if modality is None:
            modality = modality_of(items, _media(items[0]))
        return embed_in_batches(
            items, lambda batch: self.embed_read([self.read(item, modality) for item in batch], modality)
        )

    def read(self, item: Any, modality: str) -> dict[str, Array]:
        """An item as its tower takes it. Several threads may read at once."""
        check_modality(modality, self.modalities)
        if modality == "image":
            return {"pixel_values": pixels_of(self._see, item)[None]}
        if modality == "audio":
            return {"input_features": self._hear(read_sound(item, self.sampling_rate_hz))[None]}
        words = self._read([check_text(item)])
        if not words["input_ids"].size:
            raise DataError(f"nothing to read in {item!r}: an empty text", hint="write something")
        return words

    def count_tokens(self, text: str) -> int:
        """Tokens of a text, without special ones around it."""
        return count_tokens(self._words, text)

    def count_read(self, read: Mapping[str, Array]) -> int:
        """Tokens of a text that was read."""
        return int(read.get("attention_mask", np.ones_like(read["input_ids"])).sum())

    def embed_read(self, read: Sequence[Mapping[str, Array]], modality: str) -> FloatArray:
        """Items that were read -> (items, width) unit vectors."""
        return unit(np.concatenate([self.graphs[modality](one)[f"{modality}_embeds"] for one in read]))

    def caption(self, image: Any, style: Style = PLAIN) -> str:
        """A sentence about a picture: a path, encoded bytes or a PIL image."""
        return "".join(self.captioning(image, style)).strip()

    def captioning(self, image: Any, style: Style = PLAIN) -> Iterator[str]:
        """The sentence piece by piece, as it is written."""
        return self._pieces("caption", [self._tokens(image, "image")], style)

    def ask(self, image: Any, question: Any, style: Style = PLAIN) -> str:
        """The answer to a question about a picture, typed (a string) or spoken (a `Path`, encoded bytes or samples)."""
        return "".join(self.asking(image, question, style)).strip()

    def asking(self, image: Any, question: Any, style: Style = PLAIN) -> Iterator[str]:
        """The answer piece by piece."""
        return self._pieces("answer", self._asked(image, question), style)

    def _asked(self, image: Any, question: Any) -> list[Array]:
        """What is seen, and what is asked about it."""
        for what, given in (("picture", image), ("question", question)):
            if given is None:
                raise DataError(f"ask needs a {what}", hint="give a picture and a question, typed or spoken")
        seen = self._tokens(image, "image")
        if isinstance(question, str):
            check_plain(question, special_tokens(self._words), "the question")
            read = self._tokens(question, "text")
            self._check_words(question)
            return [seen, read]
        return [seen, self._tokens(question, "audio")]

    def transcribe(
        self, sound: Any, language: str | None = None, *, speech_filter: SpeechFilter = SPEECH_FILTER
    ) -> Transcription:
        """What is said in a sound: a path, encoded bytes, or mono samples (n,) at `sampling_rate_hz`.

        What is longer than the model hears is cut where it is quietest; a window is a segment, one without speech is
        none. Of the filter the voice activity detector counts: the model has no no-speech token.
        """
        samples = read_sound(sound, self.sampling_rate_hz)
        return joined([*self.transcribing(samples, language, speech_filter=speech_filter)])

    def listener(self, language: str | None = None, *, speech_filter: SpeechFilter = SPEECH_FILTER) -> _Listener:
        """What hears a stream of windows."""
        self.check_language(language)
        return _Listener(self, speech_filter)

    def transcribing(
        self, samples: FloatArray, language: str | None = None, *, speech_filter: SpeechFilter = SPEECH_FILTER
    ) -> Iterator[Transcription]:
        """The same window by window, as each is heard; of mono samples (n,)."""
        self.check_language(language)
        rate_hz, longest_s = self.sampling_rate_hz, self.longest_s
        parts = windows(samples, rate_hz, longest_s, longest_s * SHORTEST_WINDOW)
        for first, last in parts:
            begin_s, end_s = first / rate_hz, last / rate_hz
            text = self._written_down(samples[first:last], speech_filter)
            segments = () if text is None else (Segment(begin_s, end_s, text),)
            yield Transcription(text or "", None, end_s - begin_s, segments)

    def _written_down(self, window: FloatArray, speech_filter: SpeechFilter) -> str | None:
        """What is said in a window; None where nobody speaks."""
        if speech_filter.vad_filter:
            self._voice = self._voice or VoiceActivity()
            if not self._voice.spans(window, self.sampling_rate_hz):
                return None
        try:
            return self._write("transcribe", [self._tokens(window, "audio")])
        except Silent:
            return None

    def check_language(self, language: str | None) -> None:
        """Refuse a language that the model does not know."""
        if language is not None:
            check_language({"languages": self.languages}, language)

    def warm_up(self, clip_lengths_s: Sequence[float] = ()) -> None:
        """Run everything once: engines pay for what they see for the first time."""
        self.run_synthetic()

    def run_synthetic(self) -> None:
        """Run every graph once on arbitrary input, to measure memory."""
        from PIL import Image

        picture = Image.new("RGB", (64, 64), (120, 90, 60))
        noise = np.random.default_rng(0).normal(0, 0.01, 4 * self.sampling_rate_hz).astype(np.float32)
        self._write("answer", [self._tokens(picture, "image"), self._tokens("a red star", "text")])
        self._write("transcribe", [self._tokens(noise, "audio")])

    def _tokens(self, item: Any, modality: str) -> Array:
        """What a tower hands the fusion: (1, tokens, width)."""
        return self.graphs[modality](self.read(item, modality))[f"{modality}_tokens"]

    def _write(self, task: str, tokens: Sequence[Array]) -> str:
        """Fuse the tokens (1, n, width) of each modality and write about them; words that come round and round end."""
        generation = self.settings["generation"]
        start = self._start_token(task)
        with self._decoders.started(self._fused(tokens)) as decoder:
            spelled = greedy(decoder, [start], generation["eos"], generation["max_tokens"] - 1)
        text: str = self._words.decode(list(spelled.tokens), skip_special_tokens=True)
        return text.strip()

    def _pieces(self, task: str, tokens: Sequence[Array], style: Style) -> Generator[str, None, bool]:
        """The same piece by piece, in a style; where nothing is drawn, it is known at once whether words come round."""
        end = self.settings["generation"]["eos"]
        limit = min(style.max_tokens, self.settings["generation"]["max_tokens"] - 1)
        start = self._start_token(task)
        with self._decoders.started(self._fused(tokens)) as decoder:
            if style.sampling.temperature == 0:
                written: Iterable[int] = _up_to(limit, greedy(decoder, [start], end, limit).tokens)
            else:
                written = written_tokens(decoder, [start], {end}, limit, style.sampling.picker())
            return (yield from until(style.stop, pieces_of(self._words, written)))

    def _fused(self, tokens: Sequence[Array]) -> dict[str, Array]:
        """What the decoder attends to: keys and values of the tokens (1, n, width) of all modalities."""
        return self.graphs["fusion"]({"tokens": np.concatenate(tokens, 1)})

    def _start_token(self, task: str) -> int:
        """The token that says what to write."""
        return int(self.settings["generation"]["tasks"][task])

    def _check_words(self, question: str) -> None:
        """Refuse a question that would be cut, and one without a single word that the model knows whole; others are
        spelled and may be misread.
        """
        pieces, longest = self._words.encode(question), self.settings["text"]["max_length"]
        if len(pieces.ids) > longest:
            reason = f"a question of {len(pieces.ids)} tokens; this model reads {longest} at most"
            raise DataError(reason, hint="ask shorter")
        for word in set(pieces.word_ids) - {None}:
            places = [place for place, whose in enumerate(pieces.word_ids) if whose == word]
            start, end = pieces.offsets[places[0]]
            if len(places) == 1 and len(question[start:end].strip()) > 1:
                return
        raise DataError(
            f"the model knows no word of {question!r}", hint="ask about what the picture shows: how many red circles?"
        )


class _Listener:
    """Hears one window after the other; what was heard before changes nothing."""

    def __init__(self, runner: MultimodalRunner, speech_filter: SpeechFilter) -> None:
        self._runner, self._filter = runner, speech_filter

    def window(self, samples: FloatArray, *, settled: bool = True) -> Transcription:
        """What is said in mono samples (n,)."""
        return self._runner.transcribe(samples, speech_filter=self._filter)


def _up_to(limit: int, tokens: Sequence[int]) -> Generator[int, None, bool]:
    """Tokens that are known; returns whether they were cut at the limit."""
    yield from tokens
    return len(tokens) >= limit


def _media(item: Any) -> str:
    """What an item that is no text must be."""
    if isinstance(item, np.ndarray):
        return "audio"
    if isinstance(item, bytes):
        raise DataError("encoded bytes may be a picture or a sound", hint="name the modality: image or audio")
    if isinstance(item, Path):
        found = media_of(item)
        if found is None:
            raise DataError(f"{item} is neither a picture nor a sound", hint="name the modality: image or audio")
        return found
    return "image"


def open_multimodal(parts: Parts) -> MultimodalRunner:
    """The runner of five graphs."""
    graphs = {part: parts.graph(name) for part, name in GRAPHS.items()}
    return MultimodalRunner(graphs, parts.decoder(), parts.settings, parts.tokenizer_path)
