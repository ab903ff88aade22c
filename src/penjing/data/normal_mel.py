"""Log-mel energies normalised as (x − mean) / std, in whole tokens of a given number of frames."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from penjing.data.mel import WhisperMel
from penjing.errors import DataError, Silent
from penjing.values import FloatArray

QUIETEST_PEAK = 1e-4
"""Of full scale; 80 dB below it nothing is said."""


class NormalMel:
    """Samples -> log-mel (mels, frames), normalised.

    Settings: `feature_size` (mels), `sampling_rate` (Hz), `mean` and `std` of log-mel energies as Whisper scales them,
    `frame_multiple` (the frames are rounded up to it with silence), `longest_s`.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._mel = WhisperMel(settings)
        self.rate_hz = self._mel.rate_hz
        self._mean, self._std = np.float32(settings["mean"]), np.float32(settings["std"])
        self._multiple, self._longest_s = int(settings["frame_multiple"]), float(settings["longest_s"])

    def __call__(self, samples: FloatArray) -> FloatArray:
        """Mono samples (n,) -> (mels, frames). A sound that is silent or too long is a DataError."""
        seconds = samples.size / self.rate_hz
        if seconds > self._longest_s:
            raise DataError(
                f"the sound lasts {seconds:.1f} s; this model hears {self._longest_s:g} s at most", hint="cut it first"
            )
        if samples.size == 0 or float(np.abs(samples).max()) < QUIETEST_PEAK:
            raise Silent("the sound is silent", hint="check the recording: nothing in it is louder than −80 dB")
        return self.features(samples)

    def features(self, samples: FloatArray) -> FloatArray:
        """The same without looking at what is heard."""
        token = self._multiple * self._mel.hop
        frames = -(-samples.size // token) * self._multiple
        normal: FloatArray = (self._mel(samples, frames) - self._mean) / self._std
        return normal
