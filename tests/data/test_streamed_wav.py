"""WAV files of pipes: a length of samples that was not known when the header was written means "to the end"."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from penjing.data.audio import LEAST_HZ, audio_length, decode_audio, read_audio
from penjing.errors import DataError

pytestmark = pytest.mark.shop

RATE_HZ = 16000
VALUES = (np.sin(np.arange(RATE_HZ) / 9) * 9000).astype("<i2")
LISTED = b"LIST" + struct.pack("<I", 26) + b"INFOISFT" + struct.pack("<I", 14) + b"Lavf58.29.100\0"
LARGE = b"LIST" + struct.pack("<I", 70_000) + b"INFO" + bytes(69_996)


def wav(
    declared: int | None = None,
    riff: int | None = None,
    between: bytes = b"",
    values: np.ndarray = VALUES,
    rate_hz: int = RATE_HZ,
) -> bytes:
    """A 16-bit mono file whose header declares these lengths of its samples and of itself."""
    samples = values.tobytes()
    body = b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, rate_hz, 2 * rate_hz, 2, 16) + between
    body += b"data" + struct.pack("<I", len(samples) if declared is None else declared) + samples
    return b"RIFF" + struct.pack("<I", len(body) if riff is None else riff) + body


@pytest.mark.parametrize("between", [b"", LISTED, LARGE], ids=["plain", "listed", "large"])
@pytest.mark.parametrize("riff", [None, 0, 0xFFFFFFFF, 36])
@pytest.mark.parametrize("declared", [0, 0xFFFFFFFF, 0x7FFFFFFF])
def test_lengths_that_were_not_known_mean_to_the_end(declared, riff, between, tmp_path):
    content = wav(declared, riff, between)
    (tmp_path / "a.wav").write_bytes(content)
    for source in (content, tmp_path / "a.wav", str(tmp_path / "a.wav")):
        np.testing.assert_array_equal(read_audio(source), VALUES.astype(np.float32) / 32768)
        assert audio_length(source) == (RATE_HZ, RATE_HZ)


@pytest.mark.parametrize("after", [b"", LISTED, LISTED + LISTED])
def test_a_file_without_samples_has_none(after):
    content = wav(values=VALUES[:0]) + after
    assert audio_length(content) == (0, RATE_HZ)
    with pytest.raises(DataError, match="no samples"):
        read_audio(content)


def test_a_length_that_is_known_is_kept_to():
    assert len(decode_audio(wav(1000)).samples) == 500
    assert len(decode_audio(wav() + LISTED).samples) == RATE_HZ


def test_a_cut_frame_at_the_end_is_left_out():
    assert len(decode_audio(wav(0) + b"\1").samples) == RATE_HZ


def test_rates_that_nothing_is_recorded_at_are_refused():
    with pytest.raises(DataError, match="1 samples a second") as caught:
        read_audio(wav(rate_hz=1, values=VALUES[:1680]))
    assert "header" in caught.value.hint
    assert len(read_audio(wav(rate_hz=LEAST_HZ, values=VALUES[:1000]))) == pytest.approx(RATE_HZ, abs=2)
