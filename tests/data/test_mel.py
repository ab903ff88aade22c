"""Our mel front ends against transformers' feature extractors, and against definitions done by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from penjing.data.mel import ClapMel, WhisperMel, shrunk
from penjing.data.spectrum import hann, hz_to_mel, mel_energies, mel_filters, mel_to_hz
from penjing.errors import DataError, ModelError


def voice(seconds: float, rate_hz: int, seed: int = 0) -> np.ndarray[Any, Any]:
    """Gliding harmonics with pauses and a little noise: a wide range of levels, as in speech."""
    dice = np.random.default_rng(seed)
    at = np.arange(int(seconds * rate_hz)) / rate_hz
    pitch = 2 * np.pi * np.cumsum(120 + 40 * np.sin(2 * np.pi * 0.7 * at)) / rate_hz
    tones = sum(np.sin(k * pitch) / k for k in range(1, 20))
    loud = np.clip(np.sin(2 * np.pi * 1.3 * at), 0, 1) ** 2
    return (0.2 * loud * tones + 1e-4 * dice.standard_normal(at.size)).astype(np.float32)


@pytest.mark.parametrize("mels", [80, 128])
@pytest.mark.parametrize("seconds", [0.05, 3.3, 29.999, 30.0, 41.0])
def test_whisper_equals_transformers(mels: int, seconds: float) -> None:
    transformers = pytest.importorskip("transformers")
    samples = voice(seconds, 16000)
    extractor = transformers.WhisperFeatureExtractor(feature_size=mels)
    expected = extractor(samples, sampling_rate=16000, return_tensors="np").input_features[0]
    found = WhisperMel({"feature_size": mels})(samples)
    assert found.dtype == np.float32
    assert found.shape == expected.shape == (mels, 3000)
    assert np.abs(found - expected).max() < 1e-4


@pytest.mark.shop
@pytest.mark.parametrize("frames", [460, 600, 2999])
def test_whisper_on_fewer_frames_gives_the_first_columns(frames: int) -> None:
    mel, samples = WhisperMel({}), voice(4.5, 16000)
    assert np.abs(mel(samples, frames) - mel(samples)[:, :frames]).max() < 1e-6


@pytest.mark.shop
def test_whisper_cuts_what_is_longer_than_the_frames() -> None:
    mel, samples = WhisperMel({}), voice(5.0, 16000)
    assert np.array_equal(mel(samples, 200), mel(samples[: 200 * 160], 200))


@pytest.mark.shop
def test_whisper_raises_everything_to_eight_powers_below_the_loudest() -> None:
    logs = WhisperMel({})(voice(2.0, 16000), 300)
    assert logs.max() - logs.min() == pytest.approx(2.0, abs=1e-6)
    assert np.all(logs[:, 210:] == logs.min())


@pytest.mark.shop
def test_whisper_on_pure_silence_is_flat_and_finite() -> None:
    logs = WhisperMel({})(np.zeros(16000, np.float32), 200)
    assert np.allclose(logs, -1.5)


@pytest.mark.parametrize("truncation", ["rand_trunc", "fusion"])
@pytest.mark.parametrize("padding", ["repeatpad", "repeat", "pad"])
@pytest.mark.parametrize("samples", [30000, 170000, 479999, 480000])
def test_clap_equals_transformers(truncation: str, padding: str, samples: int) -> None:
    transformers = pytest.importorskip("transformers")
    sound = voice(10.0, 48000)[:samples]
    settings = {"truncation": truncation, "padding": padding}
    expected = transformers.ClapFeatureExtractor(**settings)(sound, sampling_rate=48000, return_tensors="np")
    found = ClapMel(settings)(sound)
    assert found.input_features.shape == expected.input_features[0].shape
    assert np.abs(found.input_features - expected.input_features[0]).max() < 1e-4
    assert found.is_longer == bool(expected.is_longer[0][0])


@pytest.mark.parametrize("samples", [480100, 481000, 700123])
def test_clap_fusion_of_long_sound_equals_transformers_where_nothing_is_random(samples: int) -> None:
    transformers = pytest.importorskip("transformers")
    sound = voice(15.0, 48000)[:samples]
    expected = transformers.ClapFeatureExtractor()(sound, sampling_rate=48000, return_tensors="np")
    found = ClapMel({})(sound)
    assert found.input_features.shape == (4, 1001, 64)
    assert np.abs(found.input_features[0] - expected.input_features[0][0]).max() < 1e-4
    assert found.is_longer is True


@pytest.mark.shop
def test_clap_takes_the_centre_of_a_long_sound() -> None:
    mel, sound = ClapMel({"truncation": "rand_trunc"}), voice(13.0, 48000)
    found = mel(sound)
    assert found.is_longer is True
    assert np.array_equal(found.input_features, mel(sound[72000:552000]).input_features)


@pytest.mark.shop
def test_clap_takes_the_middle_of_each_third() -> None:
    found = ClapMel({})(voice(19.0, 48000)).input_features
    again = ClapMel({})(voice(19.0, 48000)).input_features
    assert np.array_equal(found, again)
    whole = ClapMel({"max_length_s": 19})(voice(19.0, 48000)).input_features[0]
    starts = [150, 450, 750]
    for piece, start in zip(found[1:], starts, strict=True):
        near = [np.abs(piece - whole[s : s + 1001]).max() for s in range(start - 2, start + 3)]
        assert min(near) < 1e-4


@pytest.mark.shop
def test_shrunk_by_hand() -> None:
    mel = np.array([[0.0], [1.0], [2.0], [3.0]], np.float32)
    assert shrunk(mel, 2).ravel() == pytest.approx([0.5, 2.5])
    assert np.array_equal(shrunk(mel, 4), mel)


def test_filters_equal_transformers() -> None:
    audio = pytest.importorskip("transformers.audio_utils")
    for scale, norm in (("slaney", "slaney"), ("htk", None)):
        expected = audio.mel_filter_bank(513, 64, 50.0, 14000.0, 48000, norm=norm, mel_scale=scale)
        assert np.allclose(mel_filters(48000, 1024, 64, 50.0, 14000.0, scale), expected, atol=1e-12)  # type: ignore[arg-type]


@pytest.mark.shop
@pytest.mark.parametrize("scale", ["slaney", "htk"])
def test_mel_scale_there_and_back(scale: Any) -> None:
    hz = [0.0, 200.0, 999.0, 1000.0, 1001.0, 8000.0]
    mels = np.array([hz_to_mel(value, scale) for value in hz])
    assert np.all(np.diff(mels) > 0)
    assert np.allclose(mel_to_hz(mels, scale), hz)


@pytest.mark.shop
def test_filters_are_cached_and_read_only() -> None:
    filters = mel_filters(16000, 400, 80, 0.0, 8000.0, "slaney")
    assert filters is mel_filters(16000, 400, 80, 0.0, 8000.0, "slaney")
    with pytest.raises(ValueError, match="read-only"):
        filters[0, 0] = 1.0


@pytest.mark.shop
def test_energies_of_frames_against_the_definition() -> None:
    samples = np.random.default_rng(1).standard_normal(64 * 300)
    filters = np.random.default_rng(2).random((33, 5))
    found = mel_energies(samples, filters, 16, 1000)
    padded = np.pad(samples, 32, mode="reflect")
    wave = np.exp(-2j * np.pi * np.outer(np.arange(33), np.arange(64)) / 64)
    for frame in (0, 1, 127, 128, 999):
        spectrum = wave @ (padded[frame * 16 : frame * 16 + 64] * hann(64))
        assert np.allclose(found[frame], np.abs(spectrum) ** 2 @ filters)


@pytest.mark.shop
def test_bad_settings_and_samples() -> None:
    with pytest.raises(ModelError, match="truncation 'fusoin'") as caught:
        ClapMel({"truncation": "fusoin"})
    assert "fusion" in caught.value.hint
    with pytest.raises(ModelError, match="padding"):
        ClapMel({"padding": "mirror"})
    with pytest.raises(DataError, match="not a mono sound"):
        WhisperMel({})(np.zeros((2, 16000), np.float32))
    with pytest.raises(DataError, match="not a mono sound"):
        ClapMel({})(np.zeros(0, np.float32))
    with pytest.raises(DataError, match="one FFT"):
        WhisperMel({})(np.zeros(16000, np.float32), 2)
