"""Distortions of mono sounds: `(samples (n,) float32, rate_hz, rng, strength) -> samples`. numpy, soxr, libsndfile."""

from __future__ import annotations

import io
from functools import lru_cache
from pathlib import Path

import numpy as np
import soundfile
import soxr

from penjing.bounded_json import parse_json
from penjing.data.audio import read_audio
from penjing.data.shifts.filters import band_pass_taps, convolve, filtered, pink_noise, room_response
from penjing.data.shifts.stretch import time_stretch
from penjing.values import FloatArray

FRAME_S = 0.02
ACTIVE_BELOW_DB = 30.0
SILENCE_DBFS = -60.0
BABBLE_CLIPS = Path(__file__).parents[1] / "builtin" / "scenes" / "speech"
BABBLE_VOICES = 6
NARROW_HZ = 8000
GSM_BLOCK = 320
"""Samples of two GSM 06.10 frames, which a WAV file stores together."""


def active_power(samples: FloatArray, rate_hz: int) -> float:
    """Mean square of the 20 ms frames within 30 dB of the loudest: the power of speech without its pauses.

    A simple form of the active speech level of ITU-T P.56; the mean of the samples is taken away first.
    """
    frame = min(max(1, int(FRAME_S * rate_hz)), len(samples))
    whole = len(samples) // frame * frame
    centred = samples[:whole].astype(np.float64) - samples.mean(dtype=np.float64)
    powers = np.square(centred).reshape(-1, frame).mean(axis=1)
    return float(powers[powers >= powers.max() * 10 ** (-ACTIVE_BELOW_DB / 10)].mean())


def is_silent(samples: FloatArray, rate_hz: int) -> bool:
    """Whether even the active frames lie below -60 dBFS; so does every constant value."""
    return active_power(samples, rate_hz) < 10 ** (SILENCE_DBFS / 10)


def mixed(samples: FloatArray, noise_samples: FloatArray, rate_hz: int, snr_db: float) -> FloatArray:
    """Add noise (n,), scaled so that active speech has `snr_db` more power than all of the noise."""
    power = float(np.square(noise_samples, dtype=np.float64).mean())
    target = active_power(samples, rate_hz) * 10 ** (-snr_db / 10)
    return samples + noise_samples * np.float32(np.sqrt(target / power) if power > 0 else 0.0)


def noise(samples: FloatArray, rate_hz: int, rng: np.random.Generator, snr_db: float) -> FloatArray:
    """Pink noise."""
    return mixed(samples, pink_noise(len(samples), rate_hz, rng), rate_hz, snr_db)


def babble(samples: FloatArray, rate_hz: int, rng: np.random.Generator, snr_db: float) -> FloatArray:
    """Six other voices at once, from clips of the built-in set `scenes` that judge nothing."""
    clips = _babble_clips()
    voices = rng.permutation(sorted({voice for voice, _ in clips}))[:BABBLE_VOICES]
    crowd = np.zeros(len(samples), np.float32)
    for voice in voices:
        names = [name for owner, name in clips if owner == voice]
        clip = read_audio(BABBLE_CLIPS / names[rng.integers(len(names))], rate_hz)
        clip = clip / np.float32(np.sqrt(active_power(clip, rate_hz)))
        crowd += np.resize(np.roll(clip, rng.integers(len(clip))), len(samples))
    return mixed(samples, crowd, rate_hz, snr_db)


@lru_cache(maxsize=1)
def _babble_clips() -> tuple[tuple[str, str], ...]:
    """(voice, file name) of the spoken clips of the part `select`: neither calibration nor the gate reads them."""
    lines = (BABBLE_CLIPS / "metadata.jsonl").read_text(encoding="utf8").splitlines()
    records = [parse_json(line) for line in lines]
    return tuple(sorted((record["voice"], record["file_name"]) for record in records if record["part"] == "select"))


def gain(samples: FloatArray, rate_hz: int, rng: np.random.Generator, gain_db: float) -> FloatArray:
    """Louder or quieter; what goes beyond full scale is not clipped, which is a distortion of its own."""
    return samples * np.float32(10 ** (gain_db / 20))


def narrow_band(samples: FloatArray, rate_hz: int, rng: np.random.Generator, band_rate_hz: int) -> FloatArray:
    """Resample to a lower rate and back: what lies above half of that rate is gone. A lower rate is left as it is."""
    if rate_hz <= band_rate_hz:
        return samples
    return _fitted(_resampled(_resampled(samples, rate_hz, band_rate_hz), band_rate_hz, rate_hz), len(samples))


def gsm_codec(samples: FloatArray, rate_hz: int, rng: np.random.Generator) -> FloatArray:
    """Through GSM 06.10 full rate, the telephone codec of 13 kbit/s at 8 kHz.

    Its encoder and decoder are integer arithmetic inside libsndfile itself: the same samples on every machine, and no
    optional library. Peaks beyond full scale are scaled down before and up again after.
    """
    peak = max(1.0, float(np.abs(samples).max()))
    narrow = _resampled(samples / np.float32(peak), rate_hz, NARROW_HZ)
    padded = np.pad(narrow.clip(-1.0, 1.0), (0, -len(narrow) % GSM_BLOCK))
    stream = io.BytesIO()
    soundfile.write(stream, padded, NARROW_HZ, format="WAV", subtype="GSM610")
    stream.seek(0)
    decoded, _ = soundfile.read(stream, dtype="float32")
    return _fitted(_resampled(decoded, NARROW_HZ, rate_hz), len(samples)) * np.float32(peak)


def clipping(samples: FloatArray, rate_hz: int, rng: np.random.Generator, share: float) -> FloatArray:
    """Cut the peaks off, so that `share` of the samples that are not zero reach the limit; the level is left as is."""
    magnitudes = np.abs(samples)
    sounding = magnitudes[magnitudes > 0]
    if sounding.size == 0:
        return samples
    limit = np.float32(np.quantile(sounding, 1.0 - share))
    return samples.clip(-limit, limit)


def reverberation(
    samples: FloatArray, rate_hz: int, rng: np.random.Generator, rt60_s: float, direct_db: float = 0.0
) -> FloatArray:
    """A room; the length stays, so the last echo is cut off."""
    return convolve(samples, room_response(rate_hz, rt60_s, direct_db, rng))[: len(samples)]


def tempo(samples: FloatArray, rate_hz: int, rng: np.random.Generator, factor: float) -> FloatArray:
    """`factor` times as fast, the pitch kept: (n,) -> (round(n / factor),)."""
    return time_stretch(samples, rate_hz, factor)


def band_pass(samples: FloatArray, rate_hz: int, rng: np.random.Generator, low_hz: float, high_hz: float) -> FloatArray:
    """Keep the frequencies between two limits."""
    return filtered(samples, band_pass_taps(rate_hz, low_hz, high_hz))


def _resampled(samples: FloatArray, rate_hz: int, target_hz: int) -> FloatArray:
    if rate_hz == target_hz:
        return samples
    resampled: FloatArray = soxr.resample(np.ascontiguousarray(samples), rate_hz, target_hz, quality="HQ")
    return resampled


def _fitted(samples: FloatArray, count: int) -> FloatArray:
    """Cut or fill with zeros to `count` samples."""
    return np.pad(samples[:count], (0, max(0, count - len(samples))))
