"""Synthetic images in the layouts that transformers models read."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

import torch
from torch import Tensor

from penjing.models.sizes import seek

GRID = 4


def image_inputs(config: Any, asked: Container[str], source: torch.Generator) -> list[dict[str, Tensor]]:
    """Return the possible image inputs of a model, the likeliest first; none if it reads no images."""
    if "pixel_values" not in asked:
        return []
    channels = _integer(seek(config, "num_channels", "in_channels", "in_chans", prefer="vision"), 3)
    if "image_grid_thw" in asked:
        return [_patches(config, channels, source)]
    if "spatial_shapes" in asked:
        return [_naflex(config, channels, source)]
    height, width = image_size(config)
    image = torch.randn(1, channels, height, width, generator=source)
    if "pixel_attention_mask" in asked:
        seen = torch.ones(1, 1, height, width, dtype=torch.bool)
        return [{"pixel_values": image[None], "pixel_attention_mask": seen}]
    frames = seek(config, "num_frames")
    if isinstance(frames, int):
        return [{"pixel_values": image[:, None].repeat(1, frames, 1, 1, 1)}]
    return [{"pixel_values": image}]


def image_size(config: Any) -> tuple[int, int]:
    """Return the height and width a model was made for; 224 where its config does not say."""
    size = seek(config, "image_size", "img_size", "input_size", prefer="vision")
    if isinstance(size, list | tuple) and len(size) >= 2:
        return int(size[-2]), int(size[-1])
    if isinstance(size, dict):
        return int(size.get("height", 224)), int(size.get("width", 224))
    side = _integer(size, 224)
    return side, side


def _patches(config: Any, channels: int, source: torch.Generator) -> dict[str, Tensor]:
    """One image as flat patches with its grid (Qwen-VL): (grid², channels · frames · patch²)."""
    patch = _integer(seek(config, "patch_size", prefer="vision"), 14)
    frames = _integer(seek(config, "temporal_patch_size", prefer="vision"), 2)
    values = torch.randn(GRID * GRID, channels * frames * patch * patch, generator=source)
    return {"pixel_values": values, "image_grid_thw": torch.tensor([[1, GRID, GRID]])}


def _naflex(config: Any, channels: int, source: torch.Generator) -> dict[str, Tensor]:
    """One image as rows of pixels with its grid (SigLIP 2): (1, grid², channels · patch²)."""
    patch = _integer(seek(config, "patch_size", prefer="vision"), 16)
    return {
        "pixel_values": torch.randn(1, GRID * GRID, channels * patch * patch, generator=source),
        "pixel_attention_mask": torch.ones(1, GRID * GRID, dtype=torch.int64),
        "spatial_shapes": torch.tensor([[GRID, GRID]]),
    }


def _integer(value: Any, default: int) -> int:
    """Return a size; configs also hold lists and nothing."""
    if isinstance(value, list | tuple) and value:
        value = value[0]
    return value if isinstance(value, int) else default
