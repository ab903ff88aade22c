"""Two encoders into one space: pictures or sounds on one side, texts on the other. Knows the task, no family."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Encoding

from penjing.data.audio import read_sound
from penjing.data.image import ImageFrontEnd
from penjing.data.row import Row
from penjing.data.text import TextFrontEnd, TokenIds, tokens_in
from penjing.data.word_coverage import WordCoverage
from penjing.errors import DataError
from penjing.runtimes.embedding import (
    check_image,
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
from penjing.values import FloatArray

GRAPHS = {"image": "vision_model", "audio": "audio_model", "text": "text_model"}
EMBEDS = {"image": "image_embeds", "audio": "audio_embeds", "text": "text_embeds"}


class DualRunner:
    """Embeds pictures or sounds, and texts, as unit vectors whose product is the cosine."""

    task = "dual-encoder"

    def __init__(self, graphs: Mapping[str, Graph], settings: Mapping[str, Any], tokenizer_path: Path) -> None:
        self.settings = settings
        self.media = "image" if settings.get("image") else "audio"
        self._graphs = graphs
        self._text = TextFrontEnd(tokenizer_path, settings["text"])
        self.word_coverage = WordCoverage(self._text.tokenizer, self._text.lower)
        self._image = ImageFrontEnd(settings["image"]) if settings.get("image") else None
        self._mel: Any = None
        if self._image is None:
            from penjing.data.mel import ClapMel

            self._mel = ClapMel(settings["audio"])

    @property
    def modalities(self) -> tuple[str, ...]:
        """What it embeds."""
        return (self.media, "text")

    def embed(self, items: Sequence[Any], modality: str | None = None) -> FloatArray:
        """Items of one modality (text, image or audio) -> (items, width) unit vectors.

        Unless the modality is named, strings are texts and everything else (a `Path`, encoded bytes, a PIL image,
        samples) is what the model sees or hears.
        """
        items = listed(items, "items")
        modality = modality or modality_of(items, self.media)
        for item in items if modality == "image" else ():
            check_image(item)  # what is none is told before any is read
        return embed_in_batches(
            items, lambda batch: self.embed_read([self.read(item, modality) for item in batch], modality)
        )

    def embed_texts(self, texts: Sequence[str]) -> FloatArray:
        """Texts -> (texts, width) unit vectors."""
        return self.embed(listed(texts, "texts"), "text")

    def embed_images(self, images: Sequence[Any]) -> FloatArray:
        """Pictures (paths, encoded bytes or PIL images) -> (images, width) unit vectors."""
        return self.embed(listed(images, "images"), "image")

    def embed_sounds(self, sounds: Sequence[Any]) -> FloatArray:
        """Sounds (paths, encoded bytes or mono samples at the model's rate) -> (sounds, width) unit vectors."""
        return self.embed(listed(sounds, "sounds"), "audio")

    def read(self, item: Any, modality: str) -> Any:
        """An item as its encoder takes it: tokens, pixels, features. Several threads may read at once."""
        check_modality(modality, ("text", "image", "audio"))
        if modality == "text":
            return self._text.read(check_text(item))
        if modality == "image":
            if self._image is None:
                raise DataError("this model hears, it does not see", hint="give it sounds")
            return pixels_of(self._image, item)
        if self._mel is None:
            raise DataError("this model sees, it does not hear", hint="give it pictures")
        return self._mel(read_sound(item, self.settings["audio"]["sampling_rate"]))

    def read_tokens(self, token_ids: Sequence[int]) -> TokenIds:
        """A text as the encoder takes it, of which the model's own token ids are given."""
        return self._text.read_tokens(token_ids)

    def count_read(self, read: Encoding | TokenIds) -> int:
        """Tokens of a text that was read."""
        return tokens_in(read)

    def embed_read(self, read: Sequence[Any], modality: str) -> FloatArray:
        """Items that were read -> (items, width) unit vectors; however many there are, few run at once."""
        return embed_in_batches(read, lambda batch: self._embed_batch(batch, modality))

    def _embed_batch(self, read: Sequence[Any], modality: str) -> FloatArray:
        if modality == "text":
            return self._run("text", self._text.together(read))
        if modality == "image":
            return self._run("image", {"pixel_values": np.stack(read)})
        features = np.stack([one.input_features for one in read])
        longer = np.array([[one.is_longer] for one in read], dtype=bool)
        return self._run("audio", {"input_features": features, "is_longer": longer})

    def embed_rows(self, rows: Sequence[Row]) -> FloatArray:
        """The pictures or sounds of rows -> (rows, width) unit vectors."""
        for row in rows:
            if row.file is None or row.media != self.media:
                raise DataError(f"row {row.id!r} has no {self.media}", hint=f"this model embeds {self.media}s")
        files = [row.file for row in rows]
        return self.embed_images(files) if self.media == "image" else self.embed_sounds(files)

    def run_synthetic(self) -> None:
        """Run both graphs once on arbitrary input, to measure memory."""
        from PIL import Image

        self.embed_texts(["a picture of a red bus"])
        if self.media == "image":
            self.embed_images([Image.new("RGB", (320, 240), (120, 90, 60))])
        else:
            self.embed_sounds([np.zeros(self.settings["audio"]["sampling_rate"] * 2, np.float32)])

    def _run(self, side: str, arrays: Mapping[str, Any]) -> FloatArray:
        return unit(self._graphs[side](arrays)[EMBEDS[side]])


def open_dual(parts: Parts) -> DualRunner:
    """The runner of two graphs, one for each side."""
    sides = ["image" if parts.settings.get("image") else "audio", "text"]
    return DualRunner({side: parts.graph(GRAPHS[side]) for side in sides}, parts.settings, parts.tokenizer_path)
