"""Every distortion by name: `GATE_SHIFTS` at fixed strengths, `AUGMENTATIONS` at random ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from penjing.data.shifts import audio, image, random_strengths, text

Modality = Literal["audio", "image", "text"]


@dataclass(frozen=True, slots=True)
class Distortion:
    """A named distortion of one modality.

    `apply` is called with `(samples, rate_hz, rng)` for audio, `(image, rng)` for images, `(text, rng)` for text, and
    returns what it was given, distorted. `strength` says how strong it is, in the words of `docs/shift.md`.
    """

    name: str
    modality: Modality
    apply: Callable[..., Any]
    strength: str


GATE_SHIFTS: tuple[Distortion, ...] = (
    Distortion("noise_10db", "audio", partial(audio.noise, snr_db=10.0), "pink noise, SNR 10 dB"),
    Distortion("noise_5db", "audio", partial(audio.noise, snr_db=5.0), "pink noise, SNR 5 dB"),
    Distortion("babble", "audio", partial(audio.babble, snr_db=10.0), "six other voices, SNR 10 dB"),
    Distortion("gain_up", "audio", partial(audio.gain, gain_db=12.0), "+12 dB"),
    Distortion("gain_down", "audio", partial(audio.gain, gain_db=-12.0), "-12 dB"),
    Distortion("band_8khz", "audio", partial(audio.narrow_band, band_rate_hz=8000), "resampled to 8 kHz and back"),
    Distortion("codec", "audio", audio.gsm_codec, "GSM 06.10, 13 kbit/s"),
    Distortion("clipping", "audio", partial(audio.clipping, share=0.05), "5% of the samples at the limit"),
    Distortion("reverberation", "audio", partial(audio.reverberation, rt60_s=0.5), "RT60 0.5 s, direct sound at 0 dB"),
    Distortion("tempo_0_85", "audio", partial(audio.tempo, factor=0.85), "0.85 times as fast, pitch kept"),
    Distortion("tempo_1_2", "audio", partial(audio.tempo, factor=1.2), "1.2 times as fast, pitch kept"),
    Distortion("jpeg_20", "image", partial(image.jpeg, quality=20), "JPEG of quality 20"),
    Distortion("blur", "image", partial(image.blur, sigma=0.01), "Gaussian, sigma 1% of the short side"),
    Distortion("dark", "image", partial(image.exposure, stops=-2.5), "-2.5 stops"),
    Distortion("bright", "image", partial(image.exposure, stops=1.5), "+1.5 stops"),
    Distortion("noise", "image", partial(image.noise, sigma=25.0), "Gaussian, sigma 25 of 255 levels"),
    Distortion("occlusion", "image", partial(image.occlusion, share=0.15), "a grey rectangle over 15% of the area"),
    Distortion("moire", "image", partial(image.moire, depth=0.2), "beat of two line grids, 20% of the light"),
    Distortion("rotation_10", "image", partial(image.rotation, degrees=10.0), "10 degrees, edges mirrored"),
    Distortion("upper_case", "text", text.upper_case, "all capitals"),
    Distortion("typos", "text", partial(text.typos, share=0.05), "5% of the letters, one at least"),
    Distortion("no_punctuation", "text", text.no_punctuation, "no punctuation"),
)
"""What the gate judges under. The strengths are frozen: a change makes results incomparable with earlier ones."""

AUGMENTATIONS: tuple[Distortion, ...] = (
    Distortion("noise", "audio", random_strengths.random_noise, "pink noise, SNR 5 to 30 dB"),
    Distortion("gain", "audio", random_strengths.random_gain, "-20 to +12 dB"),
    Distortion("room", "audio", random_strengths.random_room, "RT60 0.2 to 0.8 s, direct sound at -3 to +9 dB"),
    Distortion("telephone_band", "audio", random_strengths.telephone_band, "300 to 3400 Hz"),
    Distortion("tempo", "audio", random_strengths.random_tempo, "0.8 to 1.25 times as fast, pitch kept"),
    Distortion("jpeg", "image", random_strengths.random_jpeg, "JPEG of quality 15 to 90"),
    Distortion("blur", "image", random_strengths.random_blur, "Gaussian, sigma up to 1.5% of the short side"),
    Distortion("exposure", "image", random_strengths.random_exposure, "-3 to +1.5 stops"),
    Distortion("noise", "image", random_strengths.random_image_noise, "Gaussian, sigma 2 to 40 of 255 levels"),
    Distortion("crop", "image", random_strengths.random_crop, "70 to 100% of both sides"),
    Distortion("case", "text", text.random_case, "capitals, small letters or capital initials"),
    Distortion("typos", "text", random_strengths.random_typos, "2 to 10% of the letters, one at least"),
    Distortion("length", "text", random_strengths.random_length, "the first 20 to 100% of the words"),
)
"""What calibration draws from; a strength is drawn each time. None of GATE_ONLY is among them."""

GATE_ONLY = frozenset({"babble", "codec", "clipping", "occlusion", "moire", "rotation_10"})
"""Kinds of which calibration has nothing alike, so that the gate also asks for what was not prepared for."""


def of_modality(distortions: Iterable[Distortion], modality: Modality) -> tuple[Distortion, ...]:
    """The distortions of one modality, in their order."""
    return tuple(distortion for distortion in distortions if distortion.modality == modality)


def gate_shift(name: str) -> Distortion:
    """The gate's distortion of this name; KeyError where there is none."""
    return {distortion.name: distortion for distortion in GATE_SHIFTS}[name]
