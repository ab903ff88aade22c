"""Log-mel front ends of Whisper and CLAP in numpy, equal to transformers' feature extractors, many times faster."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from penjing.data.spectrum import frame_count, mel_energies, mel_filters
from penjing.errors import DataError, ModelError, did_you_mean
from penjing.values import Array, FloatArray

FLOOR = 1e-10
"""Least mel energy before the logarithm, in both families."""
WHISPER_HIGHEST_HZ = 8000.0
WHISPER_RANGE = 8.0
"""Everything more than 8 powers of ten below the loudest bin is raised to that level."""

Truncation = Literal["rand_trunc", "fusion"]
Padding = Literal["repeatpad", "repeat", "pad"]


class WhisperMel:
    """Samples -> log-mel (mels, frames) as Whisper hears them.

    `settings` are the keys of preprocessor_config.json: `feature_size` (80 or 128), `sampling_rate`, `n_fft`,
    `hop_length`, `chunk_length` (s); what is missing has the value every published Whisper has.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.mels = int(settings.get("feature_size", 80))
        self.rate_hz = int(settings.get("sampling_rate", 16000))
        self.n_fft = int(settings.get("n_fft", 400))
        self.hop = int(settings.get("hop_length", 160))
        self.longest_frames = int(settings.get("chunk_length", 30)) * self.rate_hz // self.hop
        filters = mel_filters(self.rate_hz, self.n_fft, self.mels, 0.0, WHISPER_HIGHEST_HZ, "slaney")
        self._filters = filters.astype(np.float32)

    def __call__(self, samples: FloatArray, frames: int | None = None) -> FloatArray:
        """Samples (n,) -> (mels, frames), float32; `frames` is 30 s unless given.

        The sound is cut or padded with silence to `frames * hop_length` samples. Silence never sets the level that the
        quietest bins are raised to, so fewer frames of padding give the first columns of the 30 s answer, as long as
        half an FFT (12.5 ms) of silence is left at the end.
        """
        frames = self.longest_frames if frames is None else frames
        length = frames * self.hop
        _check_samples(samples, length, self.n_fft)
        heard = min(frames, -(-(min(samples.size, length) + self.n_fft // 2) // self.hop))
        padded = np.zeros(length, np.float32)
        padded[: samples.size] = samples[:length]
        energy = mel_energies(padded, self._filters, self.hop, heard)
        logs = np.full((self.mels, frames), np.log10(np.float32(FLOOR)), np.float32)
        logs[:, :heard] = np.log10(np.maximum(energy, np.float32(FLOOR))).T
        np.maximum(logs, logs.max() - WHISPER_RANGE, out=logs)
        logs += 4.0
        logs /= 4.0
        return logs


class ClapFeatures(NamedTuple):
    """What CLAP takes: mel spectrograms (channels, frames, mels) and whether the sound was longer than its window."""

    input_features: FloatArray
    is_longer: bool


class ClapMel:
    """Samples -> log-mel in decibels as CLAP hears them, one channel (`rand_trunc`) or four (`fusion`).

    `settings` are the keys of preprocessor_config.json. transformers takes random pieces of a sound longer than
    `max_length_s`; here they are fixed: the centre for `rand_trunc`, the middle of each third for `fusion`.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.mels = int(settings.get("feature_size", 64))
        self.rate_hz = int(settings.get("sampling_rate", 48000))
        self.n_fft = int(settings.get("fft_window_size", 1024))
        self.hop = int(settings.get("hop_length", 480))
        self.length = int(settings.get("max_length_s", 10)) * self.rate_hz
        self.truncation: Truncation = _choice(settings.get("truncation", "fusion"), get_args(Truncation), "truncation")
        self.padding: Padding = _choice(settings.get("padding", "repeatpad"), get_args(Padding), "padding")
        low, high = float(settings.get("frequency_min", 0)), float(settings.get("frequency_max", 14000))
        scale: Literal["htk", "slaney"] = "htk" if self.truncation == "fusion" else "slaney"
        self._filters = mel_filters(self.rate_hz, self.n_fft, self.mels, low, high, scale)

    def __call__(self, samples: FloatArray) -> ClapFeatures:
        """Samples (n,) -> input_features (1 or 4, frames, mels), float32, and is_longer.

        As in transformers a single short sound counts as longer in `fusion`, or the fusion layer would see no item.
        """
        _check_samples(samples, self.length, self.n_fft)
        if self.truncation == "rand_trunc":
            start = max(0, samples.size - self.length) // 2
            piece = self._padded(samples[start : start + self.length])
            return ClapFeatures(self._decibels(piece)[None], samples.size > self.length)
        window = frame_count(self.length, self.hop)
        mel = self._decibels(self._padded(samples))
        if len(mel) <= window:
            return ClapFeatures(np.repeat(mel[None], 4, axis=0), True)
        thirds = np.array_split(np.arange(len(mel) - window + 1), 3)
        starts = [int(third[len(third) // 2]) if third.size else 0 for third in thirds]
        pieces = [mel[start : start + window] for start in starts]
        return ClapFeatures(np.stack([shrunk(mel, window), *pieces]), True)

    def _padded(self, samples: FloatArray) -> FloatArray:
        """Repeat a short sound as `padding` says, then fill it with silence to the length of the window."""
        missing = self.length - samples.size
        if missing <= 0:
            return samples
        times = self.length // samples.size
        if self.padding == "repeat":
            return np.tile(samples, times + 1)[: self.length]
        repeated = np.tile(samples, times) if self.padding == "repeatpad" else samples
        return np.pad(repeated, (0, self.length - repeated.size))

    def _decibels(self, samples: FloatArray) -> FloatArray:
        """Samples (n,) -> (frames, mels). In float64: nothing clamps the quiet bins, where float32 would be noise."""
        frames = frame_count(samples.size, self.hop)
        energy = mel_energies(samples.astype(np.float64), self._filters, self.hop, frames)
        decibels: NDArray[np.float64] = 10.0 * np.log10(np.maximum(energy, FLOOR))
        return decibels.astype(np.float32)


def shrunk(mel: FloatArray, frames: int) -> FloatArray:
    """Resize (n, mels) to (frames, mels), linearly along time between the centres of frames."""
    centre = (np.arange(frames, dtype=np.float32) + 0.5) * np.float32(len(mel) / frames) - 0.5
    place = np.clip(centre, 0.0, len(mel) - 1.0)
    left = place.astype(np.int64)
    right = np.minimum(left + 1, len(mel) - 1)
    share = (place - left).astype(np.float32)[:, None]
    resized: FloatArray = mel[left] * (1 - share) + mel[right] * share
    return resized


def _choice(value: Any, known: tuple[str, ...], key: str) -> Any:
    """Accept one of the known values of a setting."""
    if value not in known:
        raise ModelError(
            f"preprocessor_config.json: {key} {value!r} is not known", hint=did_you_mean(str(value), [*known])
        )
    return value


def _check_samples(samples: Array, length: int, n_fft: int) -> None:
    """Refuse what cannot be framed: no samples, more than one channel, a window shorter than an FFT."""
    if samples.ndim != 1 or samples.size == 0:
        raise DataError(f"samples of shape {samples.shape} are not a mono sound", hint="give a one-dimensional array")
    if length < n_fft:
        raise DataError(f"{length} samples are less than one FFT of {n_fft}", hint="ask for more frames")
