"""Linear filters for long sounds: convolution by overlap-add, a band-pass, pink noise, a room."""

from __future__ import annotations

import numpy as np

from penjing.values import FloatArray

SMALLEST_FFT = 1 << 10
LARGEST_FFT = 1 << 16
"""Samples per transform: memory does not grow with the length of the sound."""
PINK_LOW_HZ = 50.0
"""Below it pink noise is flat: most of its power would lie where loudspeakers and microphones have none."""
SHORTEST_PINK = 64
DECAY_DB = 60.0
DIRECT_GAP_S = 0.005
"""The first reflection arrives 5 ms after the direct sound: a detour of 1.7 m."""


def convolve(samples: FloatArray, taps: FloatArray) -> FloatArray:
    """Linear convolution by overlap-add: (n,), (m,) -> (n + m - 1,)."""
    shortest = _power_of_two(len(samples) + len(taps) - 1)
    size = max(min(shortest, max(LARGEST_FFT, _power_of_two(4 * len(taps)))), SMALLEST_FFT)
    step = size - len(taps) + 1
    response = np.fft.rfft(taps.astype(np.float32), size)
    output = np.zeros(len(samples) + len(taps) - 1, np.float32)
    for start in range(0, len(samples), step):
        block = np.fft.irfft(np.fft.rfft(samples[start : start + step], size) * response, size)
        end = min(start + size, len(output))
        output[start:end] += block[: end - start]
    return output


def filtered(samples: FloatArray, taps: FloatArray) -> FloatArray:
    """Convolution with symmetric taps, the delay of half their length removed: (n,), (m,) with odd m -> (n,)."""
    half = len(taps) // 2
    return convolve(samples, taps)[half : half + len(samples)]


def band_pass_taps(rate_hz: int, low_hz: float, high_hz: float, length_s: float = 0.02) -> FloatArray:
    """Windowed-sinc band-pass (Hamming), an odd number of taps; frequencies above half the rate are left out."""
    half = max(1, int(length_s * rate_hz / 2))
    times = np.arange(-half, half + 1)
    high, low = (min(2 * hz / rate_hz, 1.0) for hz in (high_hz, low_hz))
    taps = high * np.sinc(high * times) - low * np.sinc(low * times)
    shaped: FloatArray = (taps * np.hamming(len(times))).astype(np.float32)
    return shaped


def pink_noise(count: int, rate_hz: int, rng: np.random.Generator) -> FloatArray:
    """Noise (count,) with equal power in every octave above 50 Hz: white noise through |H(f)| = 1 / sqrt(f)."""
    size = max(SHORTEST_PINK, _power_of_two(rate_hz // 8))
    frequencies_hz = np.maximum(np.fft.rfftfreq(size, 1 / rate_hz), PINK_LOW_HZ)
    taps = np.fft.fftshift(np.fft.irfft(np.sqrt(PINK_LOW_HZ / frequencies_hz)))
    taps = (taps * np.hanning(size + 1)[:size])[1:]
    white = rng.standard_normal(count + len(taps) - 1, dtype=np.float32)
    return convolve(white, taps.astype(np.float32))[len(taps) - 1 :][:count]


def room_response(rate_hz: int, rt60_s: float, direct_db: float, rng: np.random.Generator) -> FloatArray:
    """Impulse response of a diffuse room: the direct sound, then white noise that decays by 60 dB in `rt60_s`.

    Args:
        rate_hz: samples per second.
        rt60_s: reverberation time.
        direct_db: power of the direct sound relative to that of all reflections.
        rng: draws the reflections.

    Returns:
        Taps of unit energy, so that the power of a sound stays about the same. Model: J. D. Polack (1988).
    """
    times_s = np.arange(max(2, int(rt60_s * rate_hz))) / rate_hz
    taps = rng.standard_normal(len(times_s)) * 10 ** (-DECAY_DB / 20 * times_s / rt60_s)
    taps[: max(1, int(DIRECT_GAP_S * rate_hz))] = 0.0
    taps *= np.sqrt(10 ** (-direct_db / 10) / max(np.square(taps).sum(), np.finfo(np.float64).tiny))
    taps[0] = 1.0
    response: FloatArray = (taps / np.sqrt(np.square(taps).sum())).astype(np.float32)
    return response


def _power_of_two(number: int) -> int:
    """The next power of two."""
    return 1 << max(0, number - 1).bit_length()
