"""Texts into vectors: an encoder and the pooling of its tokens. Knows the task, no family."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Encoding

from penjing.data.row import Row
from penjing.data.text import TextFrontEnd, TokenIds, tokens_in
from penjing.data.word_coverage import WordCoverage
from penjing.errors import ArtifactError, DataError, did_you_mean
from penjing.runtimes.embedding import check_modality, check_text, embed_in_batches, listed, unit
from penjing.runtimes.engine import Graph
from penjing.runtimes.parts import Parts
from penjing.values import Array, FloatArray

GRAPH = "model"
ROUNDED = 8
"""Texts are padded to a multiple of so many tokens: an engine keeps what it prepared for every shape that it meets."""


def pool_mean(hidden: FloatArray, mask: Array) -> FloatArray:
    """Mean of a text's tokens, padding left out: (texts, tokens, width), (texts, tokens) -> (texts, width)."""
    weights = mask.astype(np.float32)[..., None]
    pooled: FloatArray = (hidden * weights).sum(axis=1) / np.maximum(weights.sum(axis=1), 1.0)
    return pooled


def pool_first(hidden: FloatArray, mask: Array) -> FloatArray:
    """The first token that is no padding, which was trained to stand for its text."""
    first: FloatArray = hidden[np.arange(len(hidden)), mask.argmax(axis=1)]
    return first


def pool_largest(hidden: FloatArray, mask: Array) -> FloatArray:
    """The largest value of each feature among a text's tokens."""
    pooled: FloatArray = np.where(mask[..., None] > 0, hidden, -np.inf).max(axis=1)
    return pooled


POOLINGS = {"mean": pool_mean, "cls": pool_first, "max": pool_largest}


class EncoderRunner:
    """Embeds texts as unit vectors whose product is the cosine."""

    task = "encoder"
    modalities = ("text",)

    def __init__(self, graph: Graph, settings: Mapping[str, Any], tokenizer_path: Path) -> None:
        self.settings = settings
        if settings["pooling"] not in POOLINGS:
            raise ArtifactError(
                f"unknown pooling {settings['pooling']!r}", hint=did_you_mean(settings["pooling"], [*POOLINGS])
            )
        self._pool = POOLINGS[settings["pooling"]]
        self._graph = graph
        self._text = TextFrontEnd(tokenizer_path, settings["text"])
        self.word_coverage = WordCoverage(self._text.tokenizer, self._text.lower)

    def embed(self, items: Sequence[str], modality: str | None = None) -> FloatArray:
        """Texts -> (texts, width) unit vectors; the only modality is text."""
        return embed_in_batches(
            listed(items, "items"),
            lambda batch: self.embed_read([self.read(item, modality or "text") for item in batch], "text"),
        )

    def embed_texts(self, texts: Sequence[str]) -> FloatArray:
        """Texts -> (texts, width) unit vectors."""
        return self.embed(listed(texts, "texts"))

    def read(self, item: Any, modality: str) -> Encoding:
        """A text as the encoder takes it. Several threads may read at once."""
        check_modality(modality, self.modalities)
        return self._text.read(check_text(item))

    def read_tokens(self, token_ids: Sequence[int]) -> TokenIds:
        """A text as the encoder takes it, of which the model's own token ids are given."""
        return self._text.read_tokens(token_ids)

    def count_read(self, read: Encoding | TokenIds) -> int:
        """Tokens of a text that was read."""
        return tokens_in(read)

    def embed_read(self, read: Sequence[Encoding | TokenIds], modality: str) -> FloatArray:
        """Texts that were read -> (texts, width) unit vectors."""
        return embed_in_batches(read, self._embed)

    def embed_rows(self, rows: Sequence[Row]) -> FloatArray:
        """The `text` of rows -> (rows, width) unit vectors."""
        for row in rows:
            if not row.fields.get("text"):
                raise DataError(f"row {row.id!r} has no text", hint="this model embeds texts")
        return self.embed_texts([row.fields["text"] for row in rows])

    def run_synthetic(self) -> None:
        """Embed a sentence, to measure memory."""
        self.embed_texts(["a red bus stands in front of the old station and nobody gets on"])

    def _embed(self, read: Sequence[Encoding | TokenIds]) -> FloatArray:
        inputs = self._text.together(read, ROUNDED)
        hidden = self._graph(inputs)["last_hidden_state"]
        return unit(self._pool(hidden, inputs["attention_mask"]))


def open_encoder(parts: Parts) -> EncoderRunner:
    """The runner of one graph."""
    return EncoderRunner(parts.graph(GRAPH), parts.settings, parts.tokenizer_path)
