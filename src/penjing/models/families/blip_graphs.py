"""The parts of BLIP as graphs: what sees, what reads a question about it, what writes while it listens to either."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn


class Viewer(nn.Module):
    """pixel_values (batch, 3, height, width) -> what the decoder listens to: (k, v) per layer.

    Each is (batch, heads, patches + 1, head width).
    """

    def __init__(self, vision: nn.Module, layers: Iterable[nn.Module]) -> None:
        super().__init__()
        self.vision, self.layers = vision, nn.ModuleList(layers)

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, ...]:
        """See, and project for every layer."""
        return _heard(self.vision(pixel_values).last_hidden_state, self.layers)


class Looker(nn.Module):
    """pixel_values (batch, 3, height, width) -> image_tokens (batch, patches + 1, width), for a question to look at."""

    def __init__(self, vision: nn.Module) -> None:
        super().__init__()
        self.vision = vision

    def forward(self, pixel_values: Tensor) -> Tensor:
        """See."""
        seen: Tensor = self.vision(pixel_values).last_hidden_state
        return seen


class Questioner(nn.Module):
    """input_ids (batch, tokens) and image_tokens -> what the decoder listens to: (k, v) per layer."""

    def __init__(self, reader: nn.Module, layers: Iterable[nn.Module]) -> None:
        super().__init__()
        self.reader, self.layers = reader, nn.ModuleList(layers)

    def forward(self, input_ids: Tensor, image_tokens: Tensor) -> tuple[Tensor, ...]:
        """Read the question with the picture in view, and project for every layer of the decoder."""
        reader: Any = self.reader
        hidden = _embed(reader.embeddings, input_ids, torch.arange(input_ids.shape[1], device=input_ids.device))
        for layer in reader.encoder.layer:
            own, cross = _pair(layer.attention.self, hidden), _pair(layer.crossattention.self, image_tokens)
            hidden = _through(layer, hidden, own, cross, None)
        return _heard(hidden, self.layers)


class Writer(nn.Module):
    """One step: input_ids (batch, tokens) and the flat past -> logits and the grown past.

    `past` holds, per layer, the decoder's key and value (batch, heads, past, width) and those it listens to; only the
    decoder's grow and are returned.
    """

    def __init__(self, decoder: nn.Module) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, input_ids: Tensor, past: list[Tensor]) -> tuple[Tensor, ...]:
        """Read the tokens after the past ones, causally among themselves."""
        decoder: Any = self.decoder
        count, before = input_ids.shape[1], past[0].shape[2]
        places = torch.arange(before, before + count, device=input_ids.device)
        hidden = _embed(decoder.bert.embeddings, input_ids, places)
        mask = torch.arange(before + count, device=input_ids.device)[None, :] <= places[:, None]
        present: list[Tensor] = []
        for index, layer in enumerate(decoder.bert.encoder.layer):
            key, value, cross_key, cross_value = past[4 * index : 4 * index + 4]
            new_key, new_value = _pair(layer.attention.self, hidden)
            own = (torch.cat([key, new_key], 2), torch.cat([value, new_value], 2))
            present += own
            hidden = _through(layer, hidden, own, (cross_key, cross_value), mask)
        return decoder.cls(hidden), *present


def _embed(embeddings: Any, input_ids: Tensor, places: Tensor) -> Tensor:
    """Words and places, normed."""
    normed: Tensor = embeddings.LayerNorm(
        embeddings.word_embeddings(input_ids) + embeddings.position_embeddings(places)
    )
    return normed


def _through(
    layer: Any, hidden: Tensor, own: tuple[Tensor, Tensor], cross: tuple[Tensor, Tensor], mask: Tensor | None
) -> Tensor:
    """One layer: look at the words, then at what is listened to, then think."""
    hidden = _attend(layer.attention, hidden, *own, mask)
    hidden = _attend(layer.crossattention, hidden, *cross, None)
    thought: Tensor = layer.feed_forward_chunk(hidden)
    return thought


def _attend(attention: Any, hidden: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    """softmax(Q Kᵀ / √d) V, the output projection, and the norm after it; the scale on the queries alone."""
    inner = attention.self
    query = _heads(inner.query(hidden) * inner.attention_head_size**-0.5, inner)
    scores = query @ key.transpose(2, 3)
    if mask is not None:
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    mixed = (torch.softmax(scores, -1) @ value).transpose(1, 2).flatten(2)
    found: Tensor = attention.output(mixed, hidden)
    return found


def _pair(inner: Any, values: Tensor) -> tuple[Tensor, Tensor]:
    """Key and value of what is looked at."""
    return _heads(inner.key(values), inner), _heads(inner.value(values), inner)


def _heads(values: Tensor, inner: Any) -> Tensor:
    """(batch, tokens, width) -> (batch, heads, tokens, head width)."""
    batch, tokens, _ = values.shape
    return values.view(batch, tokens, inner.num_attention_heads, inner.attention_head_size).transpose(1, 2)


def _heard(hidden: Tensor, layers: Iterable[Any]) -> tuple[Tensor, ...]:
    """Key and value of every layer, flat."""
    return tuple(part for layer in layers for part in _pair(layer.crossattention.self, hidden))
