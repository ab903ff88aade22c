"""One tower per modality, the fusion of whatever they saw, and the decoder that writes about it.

Every tower gives tokens (batch, tokens, width) for the fusion and one embedding (batch, embedding width) for comparing.
Masks (batch, tokens) are true where there is something; None where nothing is padded.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from penjing.seedling.attention import DecoderLayer, EncoderLayer, KeyValue, split_heads
from penjing.seedling.configuration import SeedlingConfig

NORM_GROUPS = 8
FRAMES_PER_TOKEN = 8
"""Three convolutions of stride 2: a token hears 80 ms."""
SYLLABLE_TOKENS = 5


class Features(NamedTuple):
    """What a tower made of its input: tokens, their mask (None: all of them), and the embedding, not normalised."""

    tokens: Tensor
    mask: Tensor | None
    embedding: Tensor


def encoder_layers(config: SeedlingConfig, count: int) -> nn.ModuleList:
    """A chain of encoder layers."""
    width, heads, inner = config.hidden_size, config.num_attention_heads, config.intermediate_size
    return nn.ModuleList(EncoderLayer(width, heads, inner) for _ in range(count))


def run_layers(layers: nn.ModuleList, hidden: Tensor, mask: Tensor | None) -> Tensor:
    """Run a chain; `mask` (batch, tokens) says which tokens may be looked at."""
    attention_mask = None if mask is None else mask[:, None, None, :]
    for layer in layers:
        hidden = layer(hidden, attention_mask)
    return hidden


def mean_token(tokens: Tensor, mask: Tensor | None) -> Tensor:
    """The mean over the tokens that are there: (batch, tokens, width) -> (batch, width)."""
    if mask is None:
        return tokens.mean(1)
    weight = mask[:, :, None].to(tokens.dtype)
    return (tokens * weight).sum(1) / weight.sum(1).clamp(min=1)


class Tower(nn.Module):
    """What the towers share: layers, a norm, a modality embedding for the fusion, a head for comparing."""

    def __init__(self, config: SeedlingConfig, layers: int) -> None:
        super().__init__()
        width = config.hidden_size
        self.layers = encoder_layers(config, layers)
        self.norm = nn.LayerNorm(width)
        self.modality = nn.Parameter(torch.zeros(width))
        self.head = nn.Linear(width, config.embedding_size)

    def finish(self, hidden: Tensor, mask: Tensor | None) -> Features:
        """Run the layers over what the stem made."""
        return self.features(self.norm(run_layers(self.layers, hidden, mask)), mask)

    def features(self, tokens: Tensor, mask: Tensor | None) -> Features:
        """Tokens that say which modality they are of, and their mean's place among what is compared."""
        return Features(tokens + self.modality, mask, self.head(mean_token(tokens, mask)))


class ConvNorm(nn.Module):
    """Convolution 3 × 3, group norm, GELU."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels_out, 3, stride, 1, bias=False)
        self.norm = nn.GroupNorm(NORM_GROUPS, channels_out)

    def forward(self, pixels: Tensor) -> Tensor:
        """(batch, channels in, height, width) -> (batch, channels out, height / stride, width / stride)."""
        return nn.functional.gelu(self.norm(self.conv(pixels)))


class ImageTower(Tower):
    """A convolutional stem of stride 8, then attention over 64 tokens, then four neighbours become one: 16 tokens.

    Whatever comes after works on the 16: a question about a picture costs a third of what it would with all 64.
    """

    def __init__(self, config: SeedlingConfig) -> None:
        super().__init__(config, config.image_layers)
        first, second, third = config.stem_channels
        self.stem = nn.Sequential(
            ConvNorm(3, first, 2), ConvNorm(first, second, 2), ConvNorm(second, second, 1), ConvNorm(second, third, 2)
        )
        self.project = nn.Linear(third, config.hidden_size)
        self.positions = nn.Parameter(torch.zeros((config.image_size // 8) ** 2, config.hidden_size))
        self.merge = nn.Linear(4 * config.hidden_size, config.hidden_size)

    def first_merge(self) -> Tensor:
        """What learning begins with: the mean of the four."""
        return torch.eye(self.merge.out_features).repeat(1, 4) / 4

    def first_positions(self) -> Tensor:
        """What learning begins with: sines and cosines of the row in one half of the width, of the column in one."""
        count, width = self.positions.shape
        side = math.isqrt(count)
        line = sinusoids(side, width // 2)
        return torch.cat([line.repeat_interleave(side, 0), line.repeat(side, 1)], 1)

    def look(self, pixel_values: Tensor) -> Tensor:
        """One token for each square of 8 × 8 pixels, row by row: (batch, 64, width)."""
        seen = self.stem(pixel_values).flatten(2).transpose(1, 2)
        tokens: Tensor = self.norm(run_layers(self.layers, self.project(seen) + self.positions, None))
        return tokens

    def merged(self, tokens: Tensor) -> Features:
        """Features of what `look` gave: four neighbouring squares are one token, (batch, 16, width)."""
        batch, count, width = tokens.shape
        half = math.isqrt(count) // 2
        squares = tokens.view(batch, half, 2, half, 2, width).transpose(2, 3).reshape(batch, half * half, 4 * width)
        return self.features(self.merge(squares), None)

    def forward(self, pixel_values: Tensor) -> Features:
        """See pictures: pixel_values (batch, 3, 64, 64)."""
        return self.merged(self.look(pixel_values))


class TextTower(Tower):
    """A table of word pieces, then attention in both directions. input_ids (batch, tokens)."""

    def __init__(self, config: SeedlingConfig) -> None:
        super().__init__(config, config.text_layers)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.positions = nn.Parameter(torch.zeros(config.max_text_tokens, config.hidden_size))

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Features:
        """Read texts."""
        hidden = self.embed_tokens(input_ids) + self.positions[: input_ids.shape[1]]
        return self.finish(hidden, None if attention_mask is None else attention_mask.bool())


class AudioTower(Tower):
    """Three convolutions of stride 2 over pitch and time, one over five tokens, then attention.

    The three see the same vowel in a high and in a low voice as one pattern, the fourth hears a syllable as a whole; no
    norm among them, or padding would count. input_features (batch, mels, frames).
    """

    def __init__(self, config: SeedlingConfig) -> None:
        super().__init__(config, config.audio_layers)
        width, channels = config.hidden_size, (1, *config.ear_channels)
        self.convs = nn.ModuleList(nn.Conv2d(*pair, 3, 2, 1) for pair in itertools.pairwise(channels))
        pitches = channels[-1] * config.num_mel_bins // FRAMES_PER_TOKEN
        self.project = nn.Conv1d(pitches, width, SYLLABLE_TOKENS, padding=SYLLABLE_TOKENS // 2)
        self.positions: Tensor
        self.register_buffer("positions", torch.zeros(config.max_audio_frames // FRAMES_PER_TOKEN, width), False)
        self.positions.copy_(self.first_positions())

    def first_positions(self) -> Tensor:
        """Sines and cosines; they are computed and not learned."""
        return sinusoids(*self.positions.shape)

    def forward(self, input_features: Tensor, feature_mask: Tensor | None = None) -> Features:
        """Hear sounds; `feature_mask` (batch, frames) is true where there is sound."""
        heard = input_features[:, None]
        for conv in self.convs:
            heard = nn.functional.gelu(conv(heard))
        heard = heard.flatten(1, 2)
        mask = None if feature_mask is None else feature_mask[:, ::FRAMES_PER_TOKEN].bool()
        if mask is not None:
            heard = heard * mask[:, None].to(heard.dtype)
        hidden = self.project(heard).transpose(1, 2)
        hidden = hidden + self.positions[: hidden.shape[1]]
        return self.finish(hidden, mask)


def sinusoids(length: int, width: int) -> Tensor:
    """Positions as sines and cosines of growing wavelength: (length, width) (Vaswani et al. 2017, section 3.5)."""
    rates = torch.exp(-math.log(10000.0) * torch.arange(width // 2) / (width // 2 - 1))
    angles = torch.arange(length)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], 1)


class Fusion(nn.Module):
    """Attention over the tokens of all modalities there are, and what the decoder's layers need of it, made once."""

    def __init__(self, config: SeedlingConfig) -> None:
        super().__init__()
        self.heads = config.num_attention_heads
        self.layers = encoder_layers(config, config.fusion_layers)
        self.norm = nn.LayerNorm(config.hidden_size)
        width = config.hidden_size
        self.keys, self.values = (
            nn.ModuleList(nn.Linear(width, width) for _ in range(config.decoder_layers)) for _ in range(2)
        )

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> list[KeyValue]:
        """tokens (batch, tokens, width) -> keys and values for each decoder layer."""
        fused = self.norm(run_layers(self.layers, tokens, mask))
        return [
            (split_heads(key(fused), self.heads), split_heads(value(fused), self.heads))
            for key, value in zip(self.keys, self.values, strict=True)
        ]


class Decoder(nn.Module):
    """Writes word pieces one after the other; the text tower's table of them is its input and its output."""

    def __init__(self, config: SeedlingConfig, table: nn.Embedding) -> None:
        super().__init__()
        width, heads, inner = config.hidden_size, config.num_attention_heads, config.intermediate_size
        self.embed_tokens = nn.Embedding(config.vocab_size, width)
        self.embed_tokens.weight = table.weight
        self.positions = nn.Parameter(torch.zeros(config.max_answer_tokens, width))
        self.layers = nn.ModuleList(DecoderLayer(width, heads, inner) for _ in range(config.decoder_layers))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, config.vocab_size, bias=False)
        self.head.weight = table.weight

    def forward(
        self,
        input_ids: Tensor,
        memory: Sequence[KeyValue],
        memory_mask: Tensor | None = None,
        past: Sequence[KeyValue] | None = None,
    ) -> tuple[Tensor, list[KeyValue]]:
        """input_ids (batch, tokens) after the past ones -> logits (batch, tokens, vocabulary) and the grown past."""
        before = past[0][0].shape[2] if past else 0
        count = input_ids.shape[1]
        places = torch.arange(before, before + count, device=input_ids.device)
        hidden = self.embed_tokens(input_ids) + self.positions[places]
        causal = torch.arange(before + count, device=input_ids.device)[None, :] <= places[:, None]
        seen = None if memory_mask is None else memory_mask[:, None, None, :]
        present = []
        for index, layer in enumerate(self.layers):
            hidden, grown = layer(hidden, memory[index], causal, seen, past[index] if past else None)
            present.append(grown)
        return self.head(self.norm(hidden)), present
