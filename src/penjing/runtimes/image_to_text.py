"""Pictures described, or asked about, by a decoder that listens to what an encoder made of them. Knows no family."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from penjing.data.image import ImageFrontEnd
from penjing.data.text import TextFrontEnd, check_plain, count_tokens, special_tokens
from penjing.errors import DataError
from penjing.runtimes.decoding import Decoder, DecoderPool, written_tokens
from penjing.runtimes.embedding import check_asked, pixels_of
from penjing.runtimes.engine import Graph
from penjing.runtimes.parts import Parts
from penjing.runtimes.pieces import pieces_of, until
from penjing.runtimes.sampling import PLAIN, Style
from penjing.values import Array, Arrays

CAPTIONER, ANSWERER = "image-to-text", "visual-question-answering"
GRAPHS = {CAPTIONER: ("encoder_model",), ANSWERER: ("vision_model", "encoder_model")}
"""Graphs of each task beside the decoder, in the order they run."""


class _Describer:
    """What captioner and answerer share: eyes, words and a decoder."""

    def __init__(
        self, graphs: Mapping[str, Graph], decoder: Decoder, settings: Mapping[str, Any], tokenizer_path: Path
    ) -> None:
        self.settings = settings
        self._graphs, self._decoders = graphs, DecoderPool(decoder)
        self._front_end = ImageFrontEnd(settings["image"])
        self._read = TextFrontEnd(tokenizer_path, settings["text"])
        self._words = self._read.tokenizer

    def count_tokens(self, text: str) -> int:
        """Tokens of a text, without special ones around it."""
        return count_tokens(self._words, text)

    def warm_up(self) -> None:
        """Run everything once: engines pay for what they see for the first time."""
        self.run_synthetic()

    def run_synthetic(self) -> None:
        """Run every graph once on an arbitrary picture, to measure memory."""
        raise NotImplementedError

    def _see(self, image: Any, name: str) -> dict[str, Array]:
        return self._graphs[name]({"pixel_values": pixels_of(self._front_end, image)[None]})

    def _write(self, heard: Arrays, style: Style) -> Generator[str, None, bool]:
        """Write while listening, piece by piece; returns whether the text was cut."""
        generation = self.settings["generation"]
        limit = min(style.max_tokens, self.settings["context_tokens"] - 1)
        pick = style.sampling.picker()
        with self._decoders.started(heard) as decoder:
            tokens = written_tokens(decoder, [generation["start"]], generation["eos"], limit, pick)
            return (yield from until(style.stop, pieces_of(self._words, tokens)))


class Captioner(_Describer):
    """Says in a sentence what pictures show."""

    task = CAPTIONER

    def caption(self, image: Any, style: Style = PLAIN) -> str:
        """A sentence about a picture: a path, encoded bytes or a PIL image."""
        return "".join(self.captioning(image, style)).strip()

    def captioning(self, image: Any, style: Style = PLAIN) -> Iterator[str]:
        """The sentence piece by piece, as it is written."""
        return self._write(self._see(image, "encoder_model"), style)

    def run_synthetic(self) -> None:
        """Caption an arbitrary picture."""
        "".join(self.captioning(Image.new("RGB", (640, 480), (120, 90, 60)), Style(4)))


class Answerer(_Describer):
    """Answers questions about pictures."""

    task = ANSWERER

    def ask(self, image: Any, question: Any, style: Style = PLAIN) -> str:
        """The answer to a typed question about a picture: a path, encoded bytes or a PIL image."""
        return "".join(self.asking(image, question, style)).strip()

    def asking(self, image: Any, question: Any, style: Style = PLAIN) -> Iterator[str]:
        """The answer piece by piece, as it is written."""
        question = check_asked(image, question)
        check_plain(question, special_tokens(self._words), "the question")
        longest = self.settings["text"]["max_length"]
        whole = self._read([question])["input_ids"]
        if whole.shape[1] >= longest:  # cut, or just not
            raise DataError(f"a question of {longest} tokens or more; this model reads fewer", hint="ask shorter")
        seen = self._see(image, "vision_model")["image_tokens"]
        return self._write(self._graphs["encoder_model"]({"input_ids": whole, "image_tokens": seen}), style)

    def run_synthetic(self) -> None:
        """Ask about an arbitrary picture."""
        "".join(self.asking(Image.new("RGB", (640, 480), (120, 90, 60)), "what is this?", Style(4)))


RUNNERS: Mapping[str, type[_Describer]] = {CAPTIONER: Captioner, ANSWERER: Answerer}


def open_describer(parts: Parts) -> Any:
    """The runner of either task."""
    graphs = {name: parts.graph(name) for name in GRAPHS[parts.task]}
    return RUNNERS[parts.task](graphs, parts.decoder(), parts.settings, parts.tokenizer_path)
