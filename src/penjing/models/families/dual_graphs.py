"""The two sides of a dual encoder as plain modules with flat tensors: what runs in calibration is what is exported.

Embeddings leave a graph as they leave the projection, not normalised, as in `CLIPVisionModelWithProjection` and in
transformers.js; whoever uses them divides by their length.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class Side(nn.Module):
    """A transformers encoder with its pooling, and the projection of what it pooled (an identity where it has none)."""

    def __init__(self, body: nn.Module, projection: nn.Module | None) -> None:
        super().__init__()
        self.body = body
        self.projection = nn.Identity() if projection is None else projection

    def embed(self, **inputs: Tensor) -> Tensor:
        """Run the encoder and project what it pooled: (batch, width)."""
        pooled: Any = self.body(**inputs, return_dict=True).pooler_output
        embeds: Tensor = self.projection(pooled)
        return embeds


class Viewer(Side):
    """Pictures. pixel_values (batch, channels, height, width) -> (batch, width)."""

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Embed pictures."""
        return self.embed(pixel_values=pixel_values)


class Reader(Side):
    """Texts. input_ids and attention_mask (batch, tokens) -> (batch, width)."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Embed texts; what the mask leaves out is not seen."""
        return self.embed(input_ids=input_ids, attention_mask=attention_mask)


class PaddedReader(Side):
    """Texts of a model that was trained to see its padding (SigLIP). input_ids (batch, tokens) -> (batch, width)."""

    def forward(self, input_ids: Tensor) -> Tensor:
        """Embed texts that are padded to the model's length."""
        return self.embed(input_ids=input_ids)


class TwiceNamedViewer(Viewer):
    """Pictures, the embeddings given twice: transformers.js reads SigLIP's by the name `pooler_output`."""

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """Embed pictures."""
        embeds = self.embed(pixel_values=pixel_values)
        return embeds, embeds


class TwiceNamedReader(PaddedReader):
    """Texts, the embeddings given twice, as `TwiceNamedViewer` does."""

    def forward(self, input_ids: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """Embed texts that are padded to the model's length."""
        embeds = self.embed(input_ids=input_ids)
        return embeds, embeds


class Step(nn.Module):
    """One windowed-attention layer of CLAP and, at the end of a stage, the merging of patches after it.

    hidden (batch, patches, width) -> the same, or (batch, patches / 4, 2 * width) behind a merge. The layer's place in
    the spectrogram is fixed here, so that every step is called with hidden states alone.
    """

    def __init__(self, layer: nn.Module, merge: nn.Module | None, grid: tuple[int, int]) -> None:
        super().__init__()
        self.layer = layer
        self.merge = merge
        self.grid = grid

    def forward(self, hidden: Tensor) -> Tensor:
        """Run the layer, then merge."""
        output: Tensor = self.layer(hidden, self.grid)[0]
        return output if self.merge is None else self.merge(output, self.grid)


def clap_steps(encoder: Any) -> list[Step]:
    """Flatten the stages of CLAP's audio encoder into steps."""
    return [
        Step(layer, stage.downsample if layer is stage.blocks[-1] else None, tuple(grid))
        for stage, grid in zip(encoder.layers, encoder.input_resolutions, strict=True)
        for layer in stage.blocks
    ]


class Hearer(nn.Module):
    """Sounds. input_features (batch, 1, frames, mels) -> (batch, width). The Swin transformer of arXiv:2211.06687."""

    def __init__(self, encoder: nn.Module, steps: list[Step], projection: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.steps = nn.ModuleList(steps)
        self.projection = projection

    def forward(self, input_features: Tensor) -> Tensor:
        """Embed sounds."""
        return self.finish(self.cut(self.spectrogram(input_features)))

    def spectrogram(self, input_features: Tensor) -> Tensor:
        """Normalise each mel band and fold time into a square: (batch, channels, side, side)."""
        encoder: Any = self.encoder
        normal = encoder.batch_norm(input_features.transpose(1, 3)).transpose(1, 3)
        square: Tensor = encoder.reshape_mel2img(normal)
        return square

    def cut(self, square: Tensor) -> Tensor:
        """Cut into patches: (batch, width, rows, columns)."""
        encoder: Any = self.encoder
        patches: Tensor = encoder.patch_embed.proj(square)
        return patches

    def finish(self, patches: Tensor) -> Tensor:
        """Run all steps over the patches, average and project them."""
        encoder: Any = self.encoder
        hidden: Tensor = encoder.patch_embed.norm(patches.flatten(2).transpose(1, 2))
        for step in self.steps:
            hidden = step(hidden)
        embeds: Tensor = self.projection(encoder.norm(hidden).mean(1))
        return embeds


class FusedHearer(Hearer):
    """Sounds of any length. input_features (batch, 4, frames, mels), is_longer (batch, 1) bool -> (batch, width).

    The first channel is the whole sound shrunk, the others are pieces of it. transformers gathers the items that are
    longer; here all are fused and `is_longer` chooses, the same numbers without a branch on data.
    """

    def forward(self, input_features: Tensor, is_longer: Tensor) -> Tensor:  # type: ignore[override]
        """Embed sounds."""
        square = self.spectrogram(input_features)
        whole = self.cut(square[:, :1])
        embed: Any = self.encoder.patch_embed
        pieces: Tensor = embed.mel_conv2d(square[:, 1:].flatten(0, 1).unsqueeze(1)).unflatten(0, (-1, 3))
        beside = pieces.permute(0, 2, 3, 1, 4).flatten(3)
        beside = nn.functional.pad(beside, (0, whole.shape[-1] - beside.shape[-1]))
        fused = embed.fusion_model(whole, beside)
        return self.finish(torch.where(is_longer[:, :, None, None], fused, whole))
