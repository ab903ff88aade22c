"""Synthetic pictures and sounds that look like real ones to a network: smooth, and different from one another.

White noise looks alike to most networks whatever its seed is, so that one that always gives the same answer would pass
for a good one.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

COARSE_GRID = 5
GRAIN = 0.1
SYLLABLE_FRAMES = 40
"""Mean distance of syllables: 0.4 s at 10 ms a frame."""
FLOOR = -0.7
"""Level of silence in Whisper's log-mel features, whose loudest values are near 1.3."""
LOUDNESS = 2.0


def picture(shape: tuple[int, ...], rng: torch.Generator) -> Tensor:
    """Patches of colour that run into one another, with some grain; normalised values of a spread of about 1.

    Args:
        shape: (..., channels, height, width).
        rng: Draws grid, brightness and grain.
    """
    *leading, channels, height, width = shape
    count = int(torch.tensor(leading).prod()) if leading else 1
    coarse = torch.randn(count, channels, COARSE_GRID, COARSE_GRID, generator=rng)
    brightness = torch.randn(count, channels, 1, 1, generator=rng) / 2
    smooth = nn.functional.interpolate(coarse, (height, width), mode="bicubic", align_corners=False)
    grain = torch.randn(count, channels, height, width, generator=rng)
    return (smooth + brightness + GRAIN * grain).reshape(shape)


def log_mel(bands: int, frames: int, rng: torch.Generator) -> Tensor:
    """Features (1, bands, frames) like those of speech: syllables over silence, each with a few formants.

    A syllable is a bump in time (standard deviation 6 to 14 frames) times three bumps over the bands. Scaled as
    Whisper's front end scales log-mel energies.
    """
    count = max(1, round(frames / SYLLABLE_FRAMES))
    times = torch.arange(frames)[None, :]
    middles = (torch.arange(count)[:, None] + torch.rand(count, 1, generator=rng)) * frames / count
    widths = 6 + 8 * torch.rand(count, 1, generator=rng)
    loudness = 0.5 + 0.5 * torch.rand(count, 1, generator=rng)
    envelopes = loudness * torch.exp(-(((times - middles) / widths) ** 2) / 2)
    places = torch.arange(bands)[None, None, :] / bands
    formants = torch.rand(count, 3, 1, generator=rng)
    spectra = torch.exp(-(((places - formants) / 0.06) ** 2) / 2).sum(1).clamp_max(1)
    energy = torch.einsum("st,sb->bt", envelopes, spectra)
    noise = 0.05 * torch.randn(bands, frames, generator=rng).abs()
    return (FLOOR + LOUDNESS * energy.clamp_max(1) + noise)[None]
