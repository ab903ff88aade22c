"""Sounds of every format, rate and number of channels, and every kind of bad one."""

from __future__ import annotations

import io
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr

from penjing.data import audio
from penjing.data.audio import audio_length, decode_audio, read_audio
from penjing.data.shifts.media import read_clip
from penjing.errors import DataError

pytestmark = pytest.mark.shop

FORMATS = [("wav", "PCM_16"), ("wav", "FLOAT"), ("flac", "PCM_24"), ("ogg", "VORBIS"), ("ogg", "OPUS"), ("mp3", None)]


def tone(rate_hz: int, seconds: float = 1.0, hz: float = 440.0) -> np.ndarray[Any, Any]:
    at = np.arange(int(rate_hz * seconds)) / rate_hz
    return (0.5 * np.sin(2 * np.pi * hz * at)).astype(np.float32)


def encoded(samples: np.ndarray[Any, Any], rate_hz: int, kind: str = "wav", subtype: str | None = "FLOAT") -> bytes:
    stream = io.BytesIO()
    soundfile.write(stream, samples, rate_hz, format=kind, subtype=subtype)
    return stream.getvalue()


def error_of(source: Any, **options: Any) -> DataError:
    with pytest.raises(DataError) as caught:
        read_audio(source, **options)
    assert "\n" not in caught.value.message
    assert caught.value.hint
    return caught.value


@pytest.mark.parametrize(("kind", "subtype"), FORMATS)
@pytest.mark.parametrize("channels", [1, 2])
def test_every_format_gives_the_same_tone(kind: str, subtype: str | None, channels: int, tmp_path: Path) -> None:
    path = tmp_path / f"tone.{kind}"
    path.write_bytes(encoded(np.stack([tone(48000)] * channels, axis=1), 48000, kind, subtype))
    samples = read_audio(path)
    assert samples.dtype == np.float32
    assert samples.ndim == 1
    assert samples.flags["C_CONTIGUOUS"]
    assert abs(samples.size - 16000) < 1600
    spectrum = np.abs(np.fft.rfft(samples[:16000], 16000))
    assert abs(int(spectrum.argmax()) - 440) <= 1
    assert np.array_equal(samples, read_audio(path.read_bytes()))
    assert np.array_equal(samples, read_audio(str(path)))


@pytest.mark.parametrize("rate_hz", [8000, 11025, 16000, 22050, 44100, 48000, 96000])
def test_resampling_keeps_tone_and_length(rate_hz: int) -> None:
    samples = read_audio(encoded(tone(rate_hz), rate_hz))
    assert abs(samples.size - 16000) <= 1
    middle = slice(2000, 14000)
    assert np.abs(samples[middle] - tone(16000)[middle]).max() < 2e-3


def test_same_rate_is_left_untouched() -> None:
    assert np.array_equal(read_audio(encoded(tone(16000), 16000)), tone(16000))


def test_nothing_above_half_the_rate_folds_back() -> None:
    samples = read_audio(encoded(tone(48000, hz=11000.0), 48000))
    assert np.abs(samples[1000:-1000]).max() < 1e-3


def test_channels_are_averaged() -> None:
    left, right = tone(16000, hz=300), tone(16000, hz=700)
    samples = read_audio(encoded(np.stack([left, right], axis=1), 16000))
    assert np.allclose(samples, (left + right) / 2, atol=1e-6)


def test_decode_keeps_channels_and_rate() -> None:
    sound = decode_audio(encoded(np.zeros((441, 3), np.float32), 44100))
    assert sound.samples.shape == (441, 3)
    assert sound.rate_hz == 44100


def test_length_from_the_header(tmp_path: Path) -> None:
    path = tmp_path / "tone.flac"
    path.write_bytes(encoded(tone(22050, 2.0), 22050, "flac", "PCM_16"))
    assert audio_length(path) == (44100, 22050)
    assert audio_length(b"nothing") == (0, 0)
    assert audio_length(tmp_path / "none.wav") == (0, 0)


@pytest.mark.parametrize("content", [b"this is text, not sound\n" * 100, b"\x89PNG\r\n\x1a\n" + bytes(500), b"RIFF"])
def test_not_a_sound(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "call.wav"
    path.write_bytes(content)
    error = error_of(path)
    assert "call.wav is not a sound" in error.message
    assert "ffmpeg" in error.hint
    assert "not a sound" in error_of(content).message


def test_missing_folder_and_empty_file(tmp_path: Path) -> None:
    assert "no such sound" in error_of(tmp_path / "none.wav").message
    assert "is a folder" in error_of(tmp_path).message
    (tmp_path / "empty.wav").touch()
    assert "empty (0 bytes)" in error_of(tmp_path / "empty.wav").message


def test_zero_length() -> None:
    assert "no samples" in error_of(encoded(np.zeros(0, np.float32), 16000)).message


def test_shorter_than_a_sample_of_the_model() -> None:
    assert "shorter than one sample" in error_of(encoded(tone(48000)[:1], 48000), rate_hz=8000).message


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_not_finite(value: float) -> None:
    samples = tone(16000)
    samples[77] = value
    assert "not finite" in error_of(encoded(samples, 16000)).message


def test_unreasonably_long_is_refused_from_the_header() -> None:
    error = error_of(encoded(tone(8000, 3.0), 8000), longest_s=2.0)
    assert "more than 2 s (3 s)" in error.message
    assert read_audio(encoded(tone(8000, 2.0), 8000), 8000, longest_s=2.0).size == 16000


def test_cut_short_file_is_read_or_refused() -> None:
    whole = encoded(tone(16000), 16000, "flac", "PCM_16")
    try:
        length = read_audio(whole[: len(whole) // 2]).size
    except DataError:
        length = 0
    assert length < 16000


@pytest.mark.parametrize(("kind", "subtype"), FORMATS)
def test_block_by_block_is_the_same_as_at_once(kind: str, subtype: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    left, right = tone(44100, 3.0, 300), tone(44100, 3.0, 700)
    content = encoded(np.stack([left, right], axis=1), 44100 if subtype != "OPUS" else 48000, kind, subtype)
    sound = decode_audio(content)
    at_once = soxr.resample(sound.samples.mean(axis=1, dtype=np.float32), sound.rate_hz, 16000, quality="HQ")
    monkeypatch.setattr(audio, "BLOCK", 9001)
    assert np.array_equal(read_audio(content), at_once)
    assert np.array_equal(decode_audio(content).samples, sound.samples)


def test_many_channels_at_a_high_rate_take_no_more_memory_than_the_result() -> None:
    content = encoded(np.zeros((192_000 * 60, 4), np.int16), 192_000, "flac", "PCM_16")
    assert len(content) < 300_000
    tracemalloc.start()
    samples = read_audio(content)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert samples.size == 16_000 * 60
    assert most < samples.nbytes + 40_000_000  # as it is stored it has 184 MB


@pytest.mark.parametrize(("rate_hz", "channels"), [(192_000, 8), (655_350, 2), (2**31 - 1, 1), (8000, 1024)])
def test_absurd_rates_and_channels_are_refused_from_the_header(rate_hz: int, channels: int) -> None:
    kind = "flac" if channels <= 8 and rate_hz <= 655_350 else "wav"
    content = encoded(np.zeros((100, channels), np.int16), rate_hz, kind, "PCM_16")
    assert f"{channels} channels at {rate_hz} Hz" in error_of(content).message
    assert audio_length(content) == (100, rate_hz)


def test_what_is_kept_as_it_is_stored_is_not_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audio, "MOST_WHOLE", 15_000)
    content = encoded(tone(16000), 16000)
    with pytest.raises(DataError, match="too large to be decoded whole"):
        decode_audio(content)
    assert read_audio(content).size == 16000


def inverted(rate_hz: int, share: float = 1.0) -> np.ndarray[Any, Any]:
    """Three seconds in stereo: the second channel is the first one with its sign turned, and weaker by a share."""
    return np.stack([tone(rate_hz, 3.0), -share * tone(rate_hz, 3.0)], axis=1)


@pytest.mark.parametrize("rate_hz", [16000, 44100])
@pytest.mark.parametrize("share", [1.0, 0.9, 1.1])
def test_channels_that_cancel_are_not_averaged_away(rate_hz: int, share: float) -> None:
    samples = read_audio(encoded(inverted(rate_hz, share), rate_hz))
    expected = read_audio(encoded(max(1.0, share) * tone(rate_hz, 3.0), rate_hz))
    assert np.abs(np.abs(samples) - np.abs(expected)).max() < 1e-3
    assert np.sqrt(np.square(samples).mean()) > 0.3


def test_a_stretch_of_inverted_phase_is_heard_whatever_the_rest_is() -> None:
    stereo = np.stack([tone(16000, 5.0)] * 2, axis=1)
    stereo[32000:48000, 1] *= -1
    samples = read_audio(encoded(stereo, 16000))
    np.testing.assert_allclose(samples, tone(16000, 5.0), atol=1e-6)


def test_channels_that_do_not_cancel_are_averaged() -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, (32000, 8)).astype(np.float32)
    quiet = np.zeros((32000, 8), np.float32)
    quiet[:, 3] = tone(16000, 2.0)
    for samples in (noise, quiet, noise[:, :2], np.zeros((10, 2), np.float32)):
        np.testing.assert_allclose(read_audio(encoded(samples, 16000)), samples.mean(axis=1), atol=1e-7)


def test_channels_are_mixed_the_same_whatever_the_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    stereo = np.stack([tone(8000, 6.5)] * 2, axis=1)
    stereo[:, 1] *= np.repeat(rng.choice([-1, 1], 7), 8000)[: len(stereo)]
    source = encoded(stereo, 8000)
    at_once = read_audio(source)
    monkeypatch.setattr(audio, "BLOCK", 16000)
    assert np.array_equal(read_audio(source), at_once)
    assert np.array_equal(read_clip(source).samples, read_audio(source, 8000))
