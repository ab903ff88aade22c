"""Synthetic sound in the layouts that transformers models read: samples, or features of one of three shapes."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

import torch
from torch import Tensor

from penjing.models.sizes import seek

SAMPLES = 16000
FRAMES = 200
CLAP_FRAMES = 1001
SPOKEN_FRAMES = 8


def audio_inputs(config: Any, asked: Container[str], source: torch.Generator) -> list[dict[str, Tensor]]:
    """Return the possible audio inputs of a model, the likeliest first; none if it hears nothing."""
    if "decoder_input_values" in asked:
        return [_spoken(config, source)]
    if "input_values" in asked:
        return [{"input_values": values} for values in _values(config, source)]
    if "input_features" in asked and "is_longer" in asked:
        channels = 4 if seek(config, "enable_fusion") else 1
        bands = seek(config, "num_mel_bins", prefer="audio")
        features = torch.randn(1, channels, CLAP_FRAMES, bands, generator=source)
        return [{"input_features": features, "is_longer": torch.zeros(1, 1, dtype=torch.bool)}]
    if "input_features" in asked:
        return [_masked(values, asked) for values in _features(config, source)]
    return []


def _values(config: Any, source: torch.Generator) -> list[Tensor]:
    """One second at 16 kHz, or a spectrogram (1, frames, bands) for models that cut it into patches (AST)."""
    samples = torch.randn(1, SAMPLES, generator=source)
    bands, frames = seek(config, "num_mel_bins"), seek(config, "max_length")
    if isinstance(bands, int) and isinstance(frames, int) and seek(config, "patch_size") is not None:
        return [torch.randn(1, frames, bands, generator=source)]
    channels = seek(config, "audio_channels")  # codecs hear (1, channels, samples)
    return [torch.randn(1, channels, SAMPLES, generator=source) if isinstance(channels, int) else samples]


def _features(config: Any, source: torch.Generator) -> list[Tensor]:
    """Frames × bands, or bands × the fixed 30 s of Whisper and of what was made from it."""
    names = ("input_feat_per_channel", "feature_projection_input_dim", "num_mel_bins", "input_dim", "input_feat_size")
    bands = seek(config, *names, prefer="audio")
    bands = bands if isinstance(bands, int) else 80
    positions = seek(config, "max_source_positions", prefer="audio")
    long_first = isinstance(positions, int) and seek(config, "input_feat_per_channel") is None
    rows = torch.randn(1, FRAMES, bands, generator=source)
    columns = torch.randn(1, bands, 2 * positions if isinstance(positions, int) else FRAMES, generator=source)
    return [columns, rows] if long_first else [rows, columns]


def _spoken(config: Any, source: torch.Generator) -> dict[str, Tensor]:
    """The spectrogram a speech synthesizer has spoken so far (1, frames, bands), and whose voice it is."""
    bands, voice = seek(config, "num_mel_bins"), seek(config, "speaker_embedding_dim")
    found = {"decoder_input_values": torch.randn(1, 2 * SPOKEN_FRAMES, bands, generator=source)}
    return found | {"speaker_embeddings": torch.randn(1, voice, generator=source)} if voice else found


def _masked(values: Tensor, asked: Container[str]) -> dict[str, Tensor]:
    """Add the mask over frames where a model wants one."""
    found = {"input_features": values}
    for name in ("feature_attention_mask", "input_features_mask"):
        if name in asked:
            frames = max(values.shape[1:])
            found[name] = torch.ones(1, frames, dtype=torch.int64)
    return found
