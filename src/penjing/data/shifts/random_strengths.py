"""The distortions that calibration draws from, each at a strength drawn from a range."""

from __future__ import annotations

import numpy as np
from PIL import Image

from penjing.data.shifts import audio, image, text
from penjing.values import FloatArray


def random_noise(samples: FloatArray, rate_hz: int, rng: np.random.Generator) -> FloatArray:
    """Pink noise at 5 to 30 dB."""
    return audio.noise(samples, rate_hz, rng, snr_db=rng.uniform(5.0, 30.0))


def random_gain(samples: FloatArray, rate_hz: int, rng: np.random.Generator) -> FloatArray:
    """-20 to +12 dB."""
    return audio.gain(samples, rate_hz, rng, gain_db=rng.uniform(-20.0, 12.0))


def random_room(samples: FloatArray, rate_hz: int, rng: np.random.Generator) -> FloatArray:
    """A reverberation time of 0.2 to 0.8 s; the direct sound 3 dB below to 9 dB above the reflections."""
    rt60_s, direct_db = rng.uniform(0.2, 0.8), rng.uniform(-3.0, 9.0)
    return audio.reverberation(samples, rate_hz, rng, rt60_s=rt60_s, direct_db=direct_db)


def telephone_band(samples: FloatArray, rate_hz: int, rng: np.random.Generator) -> FloatArray:
    """300 to 3400 Hz."""
    return audio.band_pass(samples, rate_hz, rng, low_hz=300.0, high_hz=3400.0)


def random_tempo(samples: FloatArray, rate_hz: int, rng: np.random.Generator) -> FloatArray:
    """0.8 to 1.25 times as fast, the pitch kept."""
    return audio.tempo(samples, rate_hz, rng, factor=rng.uniform(0.8, 1.25))


def random_jpeg(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """JPEG of quality 15 to 90."""
    return image.jpeg(picture, rng, quality=int(rng.integers(15, 91)))


def random_blur(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Gaussian, sigma up to 1.5% of the short side."""
    return image.blur(picture, rng, sigma=rng.uniform(0.0, 0.015))


def random_exposure(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """-3 to +1.5 stops."""
    return image.exposure(picture, rng, stops=rng.uniform(-3.0, 1.5))


def random_image_noise(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Gaussian, sigma 2 to 40 levels."""
    return image.noise(picture, rng, sigma=rng.uniform(2.0, 40.0))


def random_crop(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """70 to 100% of both sides."""
    return image.crop(picture, rng, share=rng.uniform(0.7, 1.0))


def random_typos(words: str, rng: np.random.Generator) -> str:
    """2 to 10% of the letters."""
    return text.typos(words, rng, share=rng.uniform(0.02, 0.10))


def random_length(words: str, rng: np.random.Generator) -> str:
    """The first 20 to 100% of the words."""
    return text.truncated(words, rng, share=rng.uniform(0.2, 1.0))
