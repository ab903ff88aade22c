"""A picture and a question in, text out: what was seen stands among the words that a language model reads.

Knows the task, no family. Three graphs: `vision_encoder` looks at tiles of a picture, one after the other,
`embed_tokens` looks up words, `decoder_model_merged` writes on.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from penjing.data.chat import Message
from penjing.data.text import count_tokens
from penjing.data.vision_prompt import Prompt, VisionPrompt
from penjing.errors import ArtifactError
from penjing.runtimes.decoding import Decoder, DecoderPool, Fed, written_tokens
from penjing.runtimes.embedding import as_image, check_asked, check_text
from penjing.runtimes.engine import Graph
from penjing.runtimes.language import LONG, check_prompt
from penjing.runtimes.parts import Parts
from penjing.runtimes.pieces import pieces_of, until
from penjing.runtimes.sampling import PLAIN, Style
from penjing.values import FloatArray

GRAPHS = {"vision": "vision_encoder", "words": "embed_tokens"}
DECODER = "decoder_model_merged"


class _Reader:
    """A decoder that is fed tokens: it looks them up first. What is looked up already goes through."""

    def __init__(self, decoder: Decoder, words: Graph) -> None:
        self._decoder, self._words = decoder, words
        self.start, self.rewind = decoder.start, decoder.rewind

    def fork(self) -> _Reader:
        """Another one of the same graphs."""
        return _Reader(self._decoder.fork(), self._words)

    def look_up(self, tokens: Sequence[int]) -> FloatArray:
        """Embeddings (tokens, width)."""
        found: FloatArray = self._words({"input_ids": np.array([tokens], np.int64)})["inputs_embeds"][0]
        return found

    def step(self, tokens: Fed) -> FloatArray:
        """Read and return the logits after the last."""
        return self._decoder.step(tokens if isinstance(tokens, np.ndarray) else self.look_up(tokens))

    def read(self, tokens: Fed) -> FloatArray:
        """Read and return the logits after each."""
        return self._decoder.read(tokens if isinstance(tokens, np.ndarray) else self.look_up(tokens))


class VisionLanguageRunner:
    """Answers questions about pictures, captions them, and writes on from text."""

    task = "image-text-to-text"

    def __init__(
        self, graphs: Mapping[str, Graph], decoder: Decoder, settings: Mapping[str, Any], tokenizer_path: Path
    ) -> None:
        self.settings = settings
        self.context_tokens: int = settings["context_tokens"]
        self._vision = graphs["vision"]
        self._reader = _Reader(decoder, graphs["words"])
        self._readers = DecoderPool(self._reader)
        self._prompt = VisionPrompt(settings, tokenizer_path)
        self._words = self._prompt.tokenizer
        self._ends = frozenset(settings["generation"]["eos"])

    @property
    def takes_turns(self) -> bool:
        """Whether it answers further questions about the same picture; artifacts of before do not."""
        return self.settings["prompt"].get("turns") is not None

    def ask(self, image: Any, question: Any, style: Style = PLAIN) -> str:
        """The answer to a typed question about a picture: a path, encoded bytes or a PIL image."""
        return "".join(self.asking(image, question, style)).strip()

    def caption(self, image: Any, style: Style = PLAIN) -> str:
        """A sentence about a picture: a path, encoded bytes or a PIL image."""
        return "".join(self.captioning(image, style)).strip()

    def asking(self, image: Any, question: Any, style: Style = PLAIN, before: Sequence[Message] = ()) -> Iterator[str]:
        """The answer piece by piece, as it is written; `before` are questions about the same picture and answers."""
        question = check_asked(image, question)
        return self._answer(as_image(image), question, style, before)

    def captioning(self, image: Any, style: Style = PLAIN) -> Iterator[str]:
        """The sentence piece by piece."""
        return self._answer(as_image(image), self._prompt.caption_request, style)

    def generate(self, prompt: str | Sequence[Message], style: Style = LONG) -> Generator[str, None, bool]:
        """Write on from a text alone; yields what is written piece by piece, and returns whether it was cut."""
        if not isinstance(prompt, str):
            raise ArtifactError("this model talks about pictures alone", hint="penjing ask ARTIFACT PICTURE QUESTION")
        tokens = self._words.encode(check_text(prompt)).ids
        check_prompt(tokens, self.context_tokens)
        return (yield from self._write(tokens, len(tokens), style))

    def logits(self, image: Any, question: str, answer: str = "") -> tuple[FloatArray, tuple[int, ...]]:
        """Logits (tokens, vocabulary) after each token of a prompt with its answer, and those tokens."""
        prompt = self._prompt(as_image(image), question, answer)
        with self._readers.started({}) as reader:
            logits = reader.read(self._fed(prompt))
            return logits.copy(), prompt.tokens  # OpenVINO returns memory that its next run overwrites

    def count_tokens(self, text: str) -> int:
        """Tokens of a text, without special ones around it."""
        return count_tokens(self._words, text)

    def warm_up(self) -> None:
        """Run everything once: engines pay for what they see for the first time."""
        self.run_synthetic()

    def run_synthetic(self) -> None:
        """Look at an arbitrary picture and write a few tokens, to measure memory."""
        "".join(self.asking(Image.new("RGB", (640, 480), (120, 90, 60)), "what is this?", Style(4)))

    def _answer(self, image: Image.Image, question: str, style: Style, before: Sequence[Message] = ()) -> Iterator[str]:
        prompt = self._prompt(image, question, before=before)
        return self._write(self._fed(prompt), len(prompt.tokens), style)

    def _write(self, fed: Fed, count: int, style: Style) -> Generator[str, None, bool]:
        limit = min(style.max_tokens, self.context_tokens - count)
        with self._readers.started({}) as reader:
            written = written_tokens(reader, fed, self._ends, limit, style.sampling.picker())
            return (yield from until(style.stop, pieces_of(self._words, written)))

    def _fed(self, prompt: Prompt) -> FloatArray:
        """Embeddings (tokens, width) of a prompt, with what was seen in the places of the image tokens.

        Tiles are looked at one by one: one shape for the engine, and memory for one.
        """
        fed = self._reader.look_up(prompt.tokens).copy()
        tiled = self._prompt.tiled
        looks = [replace(prompt, pixels=prompt.pixels[place : place + 1]) for place in range(len(prompt.pixels))]
        seen = [self._vision(look.inputs(tiled))["image_features"] for look in looks]
        places = np.array(prompt.tokens) == self.settings["image_token_id"]
        fed[places] = np.concatenate(seen).reshape(-1, fed.shape[1])
        return fed


def open_vision_language(parts: Parts) -> VisionLanguageRunner:
    """The runner of three graphs."""
    graphs = {part: parts.graph(name) for part, name in GRAPHS.items()}
    return VisionLanguageRunner(graphs, parts.decoder(DECODER), parts.settings, parts.tokenizer_path)
