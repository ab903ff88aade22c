"""Distortions of sounds: each does what its name says, by as much as it says."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest

from penjing.data.audio import read_audio
from penjing.data.shifts import audio, filters
from penjing.data.shifts.registry import AUGMENTATIONS, GATE_SHIFTS, gate_shift, of_modality
from penjing.data.shifts.seeds import generator
from penjing.data.source import load_dataset

pytestmark = pytest.mark.shop

Samples = np.ndarray[Any, Any]
RATE_HZ = 16000
ALL = [*of_modality(GATE_SHIFTS, "audio"), *of_modality(AUGMENTATIONS, "audio")]


@cache
def speech(rate_hz: int = RATE_HZ) -> Samples:
    row = load_dataset("speech").rows[90]
    return read_audio(row.file, rate_hz)  # type: ignore[arg-type]


def tone(hz: float, seconds: float = 2.0, rate_hz: int = RATE_HZ) -> Samples:
    return (0.4 * np.sin(2 * np.pi * hz * np.arange(int(seconds * rate_hz)) / rate_hz)).astype(np.float32)


def shifted(name: str, samples: Samples, rate_hz: int = RATE_HZ) -> Samples:
    return gate_shift(name).apply(samples, rate_hz, generator(0, "row", name))  # type: ignore[no-any-return]


def decibels(ratio: float) -> float:
    return float(10 * np.log10(ratio))


def power_between(samples: Samples, low_hz: float, high_hz: float, rate_hz: int = RATE_HZ) -> float:
    spectrum = np.square(np.abs(np.fft.rfft(samples.astype(np.float64))))
    frequencies = np.fft.rfftfreq(len(samples), 1 / rate_hz)
    return float(spectrum[(frequencies >= low_hz) & (frequencies < high_hz)].sum())


def loudest_hz(samples: Samples, rate_hz: int = RATE_HZ) -> float:
    windowed = samples * np.hanning(len(samples))
    return float(np.fft.rfftfreq(len(samples), 1 / rate_hz)[np.abs(np.fft.rfft(windowed)).argmax()])


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.name)
@pytest.mark.parametrize("rate_hz", [8000, 16000, 44100])
def test_all_give_finite_float32_and_the_same_again(kind: Any, rate_hz: int) -> None:
    before = speech(rate_hz).copy()
    once, twice = (kind.apply(before, rate_hz, generator(1, kind.name)) for _ in range(2))
    assert once.dtype == np.float32
    assert once.ndim == 1
    assert np.isfinite(once).all()
    assert np.array_equal(once, twice)
    assert np.array_equal(before, speech(rate_hz))  # the input is not written to


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.name)
@pytest.mark.parametrize("count", [1, 7, 300, 5000])
def test_all_take_short_and_silent_sounds(kind: Any, count: int) -> None:
    for samples in (tone(500)[:count] + np.float32(0.1), np.zeros(count, np.float32)):
        output = kind.apply(samples, RATE_HZ, generator(2, kind.name))
        assert len(output) >= 1
        assert np.isfinite(output).all()
        assert "tempo" in kind.name or len(output) == count
    assert audio.is_silent(output, RATE_HZ)  # silence stays silence


@pytest.mark.parametrize(("name", "snr_db"), [("noise_10db", 10.0), ("noise_5db", 5.0), ("babble", 10.0)])
def test_signal_to_noise_ratio_is_that_of_the_speech_without_pauses(name: str, snr_db: float) -> None:
    pause = np.zeros(8 * RATE_HZ, np.float32)
    for samples in (speech(), np.concatenate([pause, speech(), pause])):
        added = shifted(name, samples) - samples
        loud = np.square(speech()[np.abs(speech()) > 0.0]).mean()
        measured = decibels(audio.active_power(samples, RATE_HZ) / np.square(added, dtype=np.float64).mean())
        assert measured == pytest.approx(snr_db, abs=0.1)
        assert audio.active_power(samples, RATE_HZ) >= loud


def test_active_power_of_a_tone_with_pauses_is_that_of_the_tone() -> None:
    samples = np.concatenate([np.zeros(32000, np.float32), tone(500), np.zeros(64000, np.float32)])
    assert audio.active_power(samples, RATE_HZ) == pytest.approx(0.4**2 / 2, rel=0.01)
    assert audio.active_power(samples + np.float32(0.3), RATE_HZ) == pytest.approx(0.4**2 / 2, rel=0.3)


def test_noise_is_pink() -> None:
    noise = filters.pink_noise(60 * RATE_HZ, RATE_HZ, generator(3))
    octaves = [decibels(power_between(noise, low, 2 * low)) for low in (100, 200, 400, 800, 1600, 3200)]
    assert np.ptp(octaves) < 0.6
    assert power_between(noise, 0, 25) < power_between(noise, 100, 200)


def test_babble_is_of_other_voices_and_differs_from_row_to_row() -> None:
    samples = speech()
    first, second = (audio.babble(samples, RATE_HZ, generator(seed), 10.0) - samples for seed in (1, 2))
    assert abs(np.corrcoef(first, samples)[0, 1]) < 0.1
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.3
    assert power_between(first, 100, 4000) > 0.9 * power_between(first, 0, 8000)
    assert len({voice for voice, _ in audio._babble_clips()}) >= audio.BABBLE_VOICES


def test_babble_reads_no_clip_that_calibrates_or_judges() -> None:
    names = {name for _, name in audio._babble_clips()}
    scenes = load_dataset("scenes")
    parts = {scenes.parts[row.id] for row in scenes.rows if row.sound is not None and row.sound.name in names}  # type: ignore[union-attr]
    assert len(names) == 40
    assert parts == {"select"}


@pytest.mark.parametrize(("name", "factor"), [("gain_up", 10 ** (12 / 20)), ("gain_down", 10 ** (-12 / 20))])
def test_gain_is_exact_and_does_not_clip(name: str, factor: float) -> None:
    loud = speech() * np.float32(1.2)
    assert np.allclose(shifted(name, loud), loud * factor, rtol=1e-6)


@pytest.mark.parametrize("name", ["band_8khz", "codec"])
@pytest.mark.parametrize("rate_hz", [16000, 48000])
def test_nothing_is_left_above_4_khz(name: str, rate_hz: int) -> None:
    samples = speech(rate_hz)
    output = shifted(name, samples, rate_hz)
    before, after = (power_between(sound, 4100, rate_hz / 2, rate_hz) for sound in (samples, output))
    assert decibels(after / before) < -50
    assert len(output) == len(samples)
    assert abs(decibels(power_between(output, 300, 3000, rate_hz) / power_between(samples, 300, 3000, rate_hz))) < 1


def test_band_of_a_sound_at_8_khz_is_left_as_it_is() -> None:
    assert np.array_equal(shifted("band_8khz", speech(8000), 8000), speech(8000))


def test_codec_loses_something_but_delays_nothing() -> None:
    narrow, coded = shifted("band_8khz", speech()), shifted("codec", speech())
    error = decibels(np.square(coded - narrow).sum() / np.square(narrow).sum())
    assert -15 < error < -3
    lags = np.correlate(coded[20000:30100], narrow[20050:30050], "valid")
    assert abs(int(lags.argmax()) - 50) <= 2


def test_codec_keeps_what_is_beyond_full_scale() -> None:
    ratio = shifted("codec", 4 * speech()).std() / shifted("codec", speech()).std()
    assert ratio == pytest.approx(4, rel=0.05)


def test_clipping_cuts_five_percent() -> None:
    with_pause = np.concatenate([speech(), np.zeros(20 * len(speech()), np.float32)])
    for samples in (speech(), with_pause):
        output = shifted("clipping", samples)
        limit = np.abs(output).max()
        assert (np.abs(output) == limit).sum() / np.count_nonzero(samples) == pytest.approx(0.05, abs=0.002)
        below = np.abs(samples) < limit
        assert np.array_equal(output[below], samples[below])


@pytest.mark.parametrize("rt60_s", [0.2, 0.5, 0.8])
def test_reverberation_decays_by_60_db_in_its_time(rt60_s: float) -> None:
    response = filters.room_response(RATE_HZ, rt60_s, 0.0, generator(4))
    assert np.square(response).sum() == pytest.approx(1, rel=1e-3)
    assert response[0] ** 2 == pytest.approx(0.5, rel=1e-3)
    # Schroeder: the energy that is still to come falls by 60 dB in RT60; measured between -5 and -25 dB.
    decay = 10 * np.log10(np.cumsum(np.square(response[1:].astype(np.float64))[::-1])[::-1])
    decay -= decay[0]
    first, last = (int((decay <= level).argmax()) for level in (-5.0, -25.0))
    assert 3 * (last - first) / RATE_HZ == pytest.approx(rt60_s, rel=0.1)


def test_reverberation_goes_on_behind_a_sound_that_ends() -> None:
    samples = np.concatenate([tone(500, 1.0), np.zeros(RATE_HZ, np.float32)])
    output = shifted("reverberation", samples)
    tail = output[RATE_HZ : RATE_HZ + 1600]
    assert decibels(np.square(tail).mean() / np.square(output[:RATE_HZ]).mean()) > -15
    assert np.square(output[-800:]).mean() < 1e-4 * np.square(output[:RATE_HZ]).mean()
    assert len(output) == len(samples)


@pytest.mark.parametrize("factor", [0.8, 0.85, 1.0, 1.2, 1.25])
@pytest.mark.parametrize("rate_hz", [8000, 16000, 44100])
@pytest.mark.parametrize("hz", [80.0, 220.0, 1000.0, 3000.0])
def test_tempo_changes_the_length_and_keeps_the_pitch(factor: float, rate_hz: int, hz: float) -> None:
    samples = tone(hz, 2.0, rate_hz)
    output = audio.tempo(samples, rate_hz, generator(5), factor)
    assert len(output) == round(len(samples) / factor)
    assert loudest_hz(output, rate_hz) == pytest.approx(hz, rel=0.02)
    middle = output[len(output) // 10 : -len(output) // 10]
    assert middle.std() == pytest.approx(samples.std(), rel=0.05)  # no part cancels another


@pytest.mark.parametrize(("name", "factor"), [("tempo_0_85", 0.85), ("tempo_1_2", 1.2)])
def test_tempo_of_speech_moves_what_is_said_in_proportion(name: str, factor: float) -> None:
    samples = np.concatenate([speech(), np.zeros(RATE_HZ, np.float32), speech()])
    output = shifted(name, samples)
    assert len(output) / len(samples) == pytest.approx(1 / factor, rel=0.001)
    assert output.std() == pytest.approx(samples.std(), rel=0.05)
    envelope = [np.square(part).mean() for part in np.array_split(samples, 60)]
    moved = [np.square(part).mean() for part in np.array_split(output, 60)]
    assert np.corrcoef(envelope, moved)[0, 1] > 0.97


def test_tempo_one_changes_nothing() -> None:
    assert np.allclose(audio.tempo(speech(), RATE_HZ, generator(0), 1.0), speech(), atol=1e-5)


def test_telephone_band_keeps_300_to_3400_hz() -> None:
    white = np.random.default_rng(0).standard_normal(10 * RATE_HZ).astype(np.float32)
    (telephone,) = (kind for kind in AUGMENTATIONS if kind.name == "telephone_band")
    output = telephone.apply(white, RATE_HZ, generator(0))
    for low, high, least, most in ((400, 3300, -0.5, 0.5), (0, 150, -99, -25), (3700, 8000, -99, -25)):
        change = decibels(power_between(output, low, high) / power_between(white, low, high))
        assert least < change < most, (low, high)


def test_convolution_in_blocks_is_that_of_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    taps = rng.standard_normal(301).astype(np.float32)
    monkeypatch.setattr(filters, "LARGEST_FFT", 2048)
    for count in (1, 100, 1748, 1749, 20_000):
        samples = rng.standard_normal(count).astype(np.float32)
        assert np.allclose(filters.convolve(samples, taps), np.convolve(samples, taps), atol=1e-3)


def test_silence_is_told_from_quiet_sounds_and_pauses() -> None:
    quiet = speech() * np.float32(0.015)
    assert not audio.is_silent(quiet, RATE_HZ)
    assert not audio.is_silent(np.concatenate([quiet, np.zeros(40 * len(quiet), np.float32)]), RATE_HZ)
    assert audio.is_silent(speech() * np.float32(0.001), RATE_HZ)
    assert audio.is_silent(np.full(16000, 0.25, np.float32), RATE_HZ)
    assert audio.is_silent(np.zeros(1, np.float32), RATE_HZ)


@pytest.mark.parametrize(("name", "low", "high"), [("gain", -20.0, 12.0), ("noise", 5.0, 30.0), ("tempo", 0.8, 1.25)])
def test_random_strengths_fill_their_range(name: str, low: float, high: float) -> None:
    (kind,) = (kind for kind in of_modality(AUGMENTATIONS, "audio") if kind.name == name)
    samples, strengths = speech()[:16000], []
    for number in range(60):
        output = kind.apply(samples, RATE_HZ, generator(number, name))
        if name == "gain":
            strengths.append(20 * np.log10(output.std() / samples.std()))
        elif name == "tempo":
            strengths.append(len(samples) / len(output))
        else:
            added = np.square(output - samples, dtype=np.float64).mean()
            strengths.append(decibels(audio.active_power(samples, RATE_HZ) / added))
    span = high - low
    assert low - 0.01 * span < min(strengths) < low + 0.15 * span
    assert high - 0.15 * span < max(strengths) < high + 0.01 * span
