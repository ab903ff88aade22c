"""Speech while it is spoken: parts that grow, parts that are settled, every sample heard once in the end."""

from __future__ import annotations

import io
import itertools
import struct
from typing import Any

import numpy as np
import pytest
import soundfile

from penjing.apps.listen import LONGEST_S, listen
from penjing.errors import DataError
from penjing.runtimes.transcription import SpeechFilter, Transcription

pytestmark = pytest.mark.shop

RATE_HZ = 16000


def sound(seconds: float, rate_hz: int = RATE_HZ) -> np.ndarray:
    """A low tone that swells twice a second; (n,) float32."""
    times = np.arange(int(seconds * rate_hz)) / rate_hz
    return (0.3 * np.sin(2 * np.pi * 200 * times) * np.sin(2 * np.pi * times) ** 2).astype(np.float32)


class Echo:
    """Tells how many samples it was given, and remembers them."""

    sampling_rate_hz, longest_s = RATE_HZ, 30.0

    def __init__(self) -> None:
        self.heard: list[tuple[np.ndarray, bool]] = []

    def listener(self, language: str | None, *, speech_filter: SpeechFilter) -> Echo:
        return self

    def window(self, samples: Any, *, settled: bool) -> Transcription:
        self.heard.append((samples, settled))
        return Transcription(f"{len(samples)}", "de", len(samples) / RATE_HZ, ())


def raw(samples: np.ndarray) -> io.BytesIO:
    return io.BytesIO((samples * 32767).astype("<i2").tobytes())


def test_what_is_not_settled_grows_by_a_second_and_is_settled_at_the_end():
    parts = [*listen(Echo(), raw(sound(3.5)))]
    ends = [(part.settled, part.segment.end_s) for part in parts]
    assert [settled for settled, _ in ends] == [False, False, False, False, True]
    assert [end for _, end in ends] == pytest.approx([1.0, 2.0, 3.0, 3.5, 3.5], abs=1e-3)


def test_where_nobody_looks_only_what_is_settled_is_heard():
    echo = Echo()
    parts = [*listen(echo, raw(sound(31)), early=False)]
    assert all(part.settled for part in parts)
    assert len(echo.heard) == len(parts)
    assert sum(samples.size for samples, _ in echo.heard) == sound(31).size


def test_a_long_stream_is_settled_in_parts_that_touch_and_hold_every_sample():
    samples, echo = sound(31), Echo()
    settled = [part.segment for part in listen(echo, raw(samples)) if part.settled]
    assert len(settled) >= 3
    assert settled[0].start_s == 0
    assert settled[-1].end_s == pytest.approx(31)
    assert all(one.end_s == other.start_s for one, other in itertools.pairwise(settled))
    assert all(one.end_s - one.start_s <= LONGEST_S for one in settled)
    assert sum(int(one.text) for one in settled) == samples.size


def test_the_listener_knows_what_is_settled():
    echo = Echo()
    parts = [*listen(echo, raw(sound(26)))]
    assert [settled for _, settled in echo.heard] == [part.settled for part in parts]


@pytest.mark.parametrize(("rate_hz", "channels"), [(RATE_HZ, 1), (44100, 2), (8000, 1)])
def test_a_wav_stream_says_its_rate_and_channels(rate_hz, channels):
    samples, file, echo = sound(2.0, rate_hz=rate_hz), io.BytesIO(), Echo()
    soundfile.write(file, np.stack([samples] * channels, 1), rate_hz, format="WAV", subtype="PCM_16")
    file.seek(0)
    last = [*listen(echo, file)][-1]
    assert last.settled
    assert last.segment.end_s == pytest.approx(2.0, abs=0.02)
    same = sound(2.0)
    heard = echo.heard[-1][0]
    count = min(len(same), len(heard))
    assert np.corrcoef(same[:count], heard[:count])[0, 1] > 0.9 or rate_hz < RATE_HZ


def test_a_stream_whose_channels_cancel_is_heard():
    samples, file, echo = sound(2.0), io.BytesIO(), Echo()
    soundfile.write(file, np.stack([samples, -samples], 1), RATE_HZ, format="WAV", subtype="PCM_16")
    file.seek(0)
    assert [*listen(echo, file)][-1].settled
    np.testing.assert_allclose(np.abs(echo.heard[-1][0]), np.abs(samples), atol=1e-3)


@pytest.mark.parametrize("subtype", ["PCM_24", "FLOAT"])
def test_other_samples_are_refused(subtype):
    file = io.BytesIO()
    soundfile.write(file, sound(1.0), RATE_HZ, format="WAV", subtype=subtype)
    file.seek(0)
    with pytest.raises(DataError, match="no 16-bit WAV"):
        [*listen(Echo(), file)]


def test_a_stream_that_claims_absurd_channels_is_refused():
    head = b"RIFF1234WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 65535, 2**32 - 1, 0, 0, 16) + b"data\x04\0\0\0"
    with pytest.raises(DataError, match="65535 channels"):
        next(listen(Echo(), io.BytesIO(head + bytes(100))))


@pytest.mark.parametrize("data", [b"", b"R", b"RIF"])
def test_a_stream_that_ends_before_a_sample_says_nothing(data):
    assert [*listen(Echo(), io.BytesIO(data))] == []


@pytest.mark.parametrize("data", [b"RIFF", b"RIFF1234WAVEfmt \xff\xff\xff\xff", b"RIFF1234WAVEdata\x04\0\0\0abcd"])
def test_half_a_header_is_refused(data):
    with pytest.raises(DataError, match="no 16-bit WAV"):
        [*listen(Echo(), io.BytesIO(data))]


class Pausing(Echo):
    """Hears nothing in silence."""

    def window(self, samples: Any, *, settled: bool) -> Transcription:
        if not np.abs(samples).max():
            return Transcription("", None, len(samples) / RATE_HZ, ())
        return super().window(samples, settled=settled)


def test_a_pause_is_no_end():
    said = np.concatenate([sound(6), np.zeros(30 * RATE_HZ, np.float32), sound(6)])
    parts = [part.segment for part in listen(Pausing(), raw(said), early=False)]
    assert "" in [part.text for part in parts]
    assert (parts[0].start_s, parts[-1].end_s) == (0.0, 42.0)
    assert parts[0].text
    assert parts[-1].text
    assert [one.end_s for one in parts[:-1]] == [one.start_s for one in parts[1:]]


def test_what_stands_behind_the_samples_of_a_wav_stream_is_not_heard():
    file, echo = io.BytesIO(), Echo()
    soundfile.write(file, sound(2.0), RATE_HZ, format="WAV", subtype="PCM_16")
    whole = file.getvalue() + b"LIST" + struct.pack("<I", 60_000) + bytes(range(200)) * 300
    assert [*listen(echo, io.BytesIO(whole))][-1].segment.end_s == pytest.approx(2.0)
    for claimed in (0, 0xFFFFFFFF, 0x7FFFFFFF):  # who writes before the end is known tells no length
        place = whole.index(b"data") + 4
        unknown = whole[:place] + struct.pack("<I", claimed) + whole[place + 4 :]
        assert [*listen(echo, io.BytesIO(unknown))][-1].segment.end_s > 3.0


def test_a_text_is_no_samples():
    with pytest.raises(DataError, match="is a text, not samples"):
        next(listen(Echo(), io.BytesIO(b"# penjing\n\ncompresses models.\n" * 20)))


@pytest.mark.parametrize(
    "head", [b"OggS", b"fLaC", b"ID3\x02", b"ID3\x03", b"\x89PNG", b"%PDF", b"\xff\xd8\xff\xdb", b"\xff\xfb\x90\x64"]
)
def test_files_are_no_samples(head):
    with pytest.raises(DataError, match="is a file, not samples"):
        next(listen(Echo(), io.BytesIO(head + bytes(64_000))))


@pytest.mark.parametrize("length", [70_000, 200_001])
def test_chunks_before_the_samples_are_skipped_whatever_their_length(length):
    values = (sound(1.0) * 32767).astype("<i2").tobytes()
    large = b"LIST" + struct.pack("<I", length) + b"INFO" + bytes(length - 4 + length % 2)
    header = b"RIFF" + struct.pack("<I", 0xFFFFFFFF) + b"WAVEfmt "
    header += struct.pack("<IHHIIHH", 16, 1, 1, RATE_HZ, 2 * RATE_HZ, 2, 16) + large
    echo = Echo()
    [*listen(echo, io.BytesIO(header + b"data" + struct.pack("<I", 0xFFFFFFFF) + values), early=False)]
    heard = np.concatenate([samples for samples, _ in echo.heard])
    np.testing.assert_allclose(heard, np.frombuffer(values, "<i2") / 32768, atol=1e-6)
