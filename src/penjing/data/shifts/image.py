"""Distortions of RGB pictures: `(image, rng, strength) -> image`. Sizes are shares of the picture, so that a large
one is distorted as much as a small one once both are resized for a model.
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageFilter

from penjing.values import FloatArray

GRID = 224
"""Grain and patterns are as fine as the pixels of a picture whose short side has so many."""
GREY = (128, 128, 128)


def jpeg(image: Image.Image, rng: np.random.Generator, quality: int) -> Image.Image:
    """Encode as JPEG of a quality from 1 to 95 and decode again."""
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return Image.open(stream).convert("RGB")


def blur(image: Image.Image, rng: np.random.Generator, sigma: float) -> Image.Image:
    """Gaussian blur; `sigma` is a share of the short side."""
    return image.filter(ImageFilter.GaussianBlur(sigma * min(image.size)))


def exposure(image: Image.Image, rng: np.random.Generator, stops: float) -> Image.Image:
    """Multiply the light by 2 ** stops in linear space; what is too bright becomes white.

    sRGB to linear light and back by the curve of IEC 61966-2-1.
    """
    encoded = np.arange(256) / 255
    linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    light = np.minimum(linear * 2.0**stops, 1.0)
    levels = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    return image.point([round(255 * level) for level in levels.tolist()] * 3)


def noise(image: Image.Image, rng: np.random.Generator, sigma: float) -> Image.Image:
    """Gaussian noise of all three channels; `sigma` in levels of 0 … 255, the grain as in a picture of 224 pixels."""
    scale = max(1.0, min(image.size) / GRID)
    width, height = (max(1, round(side / scale)) for side in image.size)
    grain = rng.standard_normal((height, width, 3), dtype=np.float32) * np.float32(sigma)
    if scale > 1.0:
        rows, columns = np.arange(image.height) * height // image.height, np.arange(image.width) * width // image.width
        grain = grain[rows][:, columns]
    return _picture(np.asarray(image) + grain)


def occlusion(image: Image.Image, rng: np.random.Generator, share: float) -> Image.Image:
    """Lay a grey rectangle over `share` of the area, of a random shape and in a random position."""
    aspect = 2.0 ** rng.uniform(-1.0, 1.0)
    area = share * image.width * image.height
    width = min(max(1, round(np.sqrt(area * aspect))), image.width)
    height = min(max(1, round(area / width)), image.height)
    width = min(max(1, round(area / height)), image.width)
    left, top = (int(rng.integers(side + 1)) for side in (image.width - width, image.height - height))
    covered = image.copy()
    covered.paste(GREY, (left, top, left + width, top + height))
    return covered


def moire(image: Image.Image, rng: np.random.Generator, depth: float) -> Image.Image:
    """A picture as it looks when a screen is photographed: the beat of two line grids, another one in each channel.

    `depth` is the share of the light that the beat takes and gives. The lines are three pixels of a picture of 224
    apart, or three pixels where it is smaller: finer ones would alias with the pixels themselves.
    """
    scale = max(1.0, min(image.size) / GRID)
    down, across = np.meshgrid(*(np.arange(side, dtype=np.float32) / scale for side in image.size[::-1]), indexing="ij")
    turn, phase = rng.uniform(0.04, 0.08), rng.uniform(0, 2 * np.pi)
    turned = (across * np.cos(turn) + down * np.sin(turn), down * np.cos(turn) - across * np.sin(turn))
    screen = _lines(across, 3.0, 0.0) * _lines(down, 3.0, 0.0)
    pixels = np.asarray(image).astype(np.float32)
    for channel, period in enumerate((2.9, 3.0, 3.1)):
        sensor = _lines(turned[0], period, phase) * _lines(turned[1], period, phase)
        # The product of two sines has half of its amplitude in the beat; here it is taken in both directions.
        pixels[..., channel] *= 1 + 4 * np.float32(depth) * screen * sensor
    return _picture(pixels)


def _lines(positions: FloatArray, period: float, phase: float) -> FloatArray:
    waves: FloatArray = np.sin(np.float32(2 * np.pi / period) * positions + np.float32(phase))
    return waves


def rotation(image: Image.Image, rng: np.random.Generator, degrees: float) -> Image.Image:
    """Turn to the left or to the right; the corners are filled with the mirrored picture."""
    angle = degrees * (1 if rng.random() < 0.5 else -1)
    pixels = np.asarray(image)
    margin = int(np.ceil(np.sin(np.radians(degrees)) * max(image.size))) + 2
    wide = Image.fromarray(np.pad(pixels, ((margin, margin), (margin, margin), (0, 0)), "symmetric"))
    turned = wide.rotate(angle, Image.Resampling.BICUBIC)
    return turned.crop((margin, margin, margin + image.width, margin + image.height))


def crop(image: Image.Image, rng: np.random.Generator, share: float) -> Image.Image:
    """Cut a window out, at a random position; each side keeps `share` of its length."""
    width, height = (max(1, round(share * side)) for side in image.size)
    left, top = (int(rng.integers(side + 1)) for side in (image.width - width, image.height - height))
    return image.crop((left, top, left + width, top + height))


def _picture(pixels: FloatArray) -> Image.Image:
    return Image.fromarray((pixels + np.float32(0.5)).clip(0, 255).astype(np.uint8))
