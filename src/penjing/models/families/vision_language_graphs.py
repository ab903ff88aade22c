"""The parts of a vision-language model as graphs: what sees, the table of words, what writes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from penjing.layers.cache import cache_grid
from penjing.models.attention import cache_of, causal_mask, spelled_out


class Viewer(nn.Module):
    """LLaVA's eye: pixel_values (pictures, 3, height, width) -> image_features (pictures, tokens, text width)."""

    def __init__(self, vision: nn.Module, connector: nn.Module, layers: list[int], skipped: int) -> None:
        super().__init__()
        self.vision, self.connector = vision, connector
        self.layers, self.skipped = layers, skipped

    def features(self, pixel_values: Tensor) -> Tensor:
        """What the encoder saw, before it is connected: the chosen layers side by side, without the class token."""
        states = self.vision(pixel_values, output_hidden_states=True).hidden_states
        return torch.cat([states[layer][:, self.skipped :] for layer in self.layers], -1)

    def forward(self, pixel_values: Tensor) -> Tensor:
        """See and connect."""
        connected: Tensor = self.connector(self.features(pixel_values))
        return connected


class TileViewer(nn.Module):
    """The eye of Idefics3 and SmolVLM: tiles and which of their pixels are there -> image_features.

    pixel_values (batch, tiles, 3, height, width), pixel_attention_mask (batch, tiles, height, width) bool ->
    (batch × tiles, tokens, text width). Unlike in transformers, no tile is left out because it is black.
    """

    def __init__(self, vision: nn.Module, connector: nn.Module) -> None:
        super().__init__()
        self.vision, self.connector = vision, connector

    def features(self, pixel_values: Tensor, pixel_attention_mask: Tensor) -> Tensor:
        """What the encoder saw, before it is connected."""
        vision: Any = self.vision
        pixels, mask = pixel_values.flatten(0, 1), pixel_attention_mask.flatten(0, 1)
        side, across = vision.patch_size, vision.embeddings.num_patches_per_side
        whole = mask[:, : across * side, : across * side]  # a side that is no multiple of a patch has an edge unseen
        there = whole.reshape(-1, across, side, across, side).any(-1).any(2)
        hidden = vision.embeddings.patch_embedding(pixels).flatten(2).transpose(1, 2)
        hidden = hidden + vision.embeddings.position_embedding(_places(there, across))
        unseen = torch.zeros(()).masked_fill(~there.flatten(1), torch.finfo(torch.float32).min)[:, None, None, :]
        for layer in vision.encoder.layers:
            output = layer(hidden, unseen)
            hidden = output[0] if isinstance(output, tuple) else output
        normed: Tensor = vision.post_layernorm(hidden)
        return normed

    def forward(self, pixel_values: Tensor, pixel_attention_mask: Tensor) -> Tensor:
        """See and connect."""
        connected: Tensor = self.connector(self.features(pixel_values, pixel_attention_mask))
        return connected


def _places(there: Tensor, side: int) -> Tensor:
    """Position ids (tiles, patches): a smaller picture is spread over all of the `side` × `side` places.

    `there` (tiles, rows, columns) is true where a patch is. The fractional places of arXiv:2307.06304 (NaViT).
    """
    boundaries = torch.arange(1 / side, 1.0, 1 / side, device=there.device)
    found = []
    for axis in (1, 2):
        count = there.select(3 - axis, 0).sum(1)
        steps = torch.arange(there.shape[axis], dtype=torch.float32, device=there.device)
        fractions = torch.clamp(steps[None] * (1.0 / count)[:, None], max=1.0 - 1e-6)
        found.append((fractions[..., None] >= boundaries).sum(-1))
    places = (found[0][:, :, None] * side + found[1][:, None, :]).flatten(1)
    return torch.where(there.flatten(1), places, torch.zeros_like(places))


class Words(nn.Module):
    """The table of words: input_ids (batch, tokens) -> inputs_embeds (batch, tokens, width)."""

    def __init__(self, table: nn.Module) -> None:
        super().__init__()
        self.table = table

    def forward(self, input_ids: Tensor) -> Tensor:
        """Look them up."""
        found: Tensor = self.table(input_ids)
        return found


class Speaker(nn.Module):
    """Language model and head: inputs_embeds (batch, tokens, width) and the flat past -> logits and the grown past.

    `attention_mask` (batch, past + tokens) is 0 where a row is padded; `past` holds key and value of each layer,
    (batch, key heads, past, head width).
    """

    def __init__(self, text: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.text, self.head = text, head

    def forward(
        self, inputs_embeds: Tensor, attention_mask: Tensor, position_ids: Tensor, past: list[Tensor]
    ) -> tuple[Tensor, ...]:
        """Read what stands there, causally among itself."""
        text, grid = self.text, cache_grid(self.text)
        cache = cache_of(past, grid)
        with spelled_out(text, grid):
            found: Any = text(
                inputs_embeds=inputs_embeds,
                attention_mask=causal_mask(attention_mask, inputs_embeds.shape[1], past[0].shape[2]),
                position_ids=position_ids,
                past_key_values=cache,
                use_cache=True,
            )
        present = (part for layer in cache.layers for part in (layer.keys, layer.values))
        return self.head(found.last_hidden_state), *present
