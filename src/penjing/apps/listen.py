"""Speech recognition on a stream: what was heard so far at once, what is settled as soon as it is."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import soxr

from penjing.data.audio import MOST_PER_S
from penjing.data.channels import mix_down
from penjing.data.windows import windows
from penjing.errors import DataError
from penjing.runtimes.transcription import SPEECH_FILTER, Segment, SpeechFilter
from penjing.values import FloatArray

EVERY_S = 1.0
"""So much new sound is waited for before all that is not settled is heard anew."""
LONGEST_S = 12.0
"""More than this is cut where it is quietest, and the first part is settled."""
RIFF, PCM, DATA = b"RIFF", 1, b"data"
OPEN_END = 0x7FFFF000
"""Who writes a header before the end is known says this length or more, or none."""
FILES = (b"OggS", b"fLaC", b"ID3", b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"PK\x03\x04", b"%PDF", b"FORM", b"caff")
"""How files begin that are no samples."""
LAYER_3 = (b"\xff\xfb", b"\xff\xfa", b"\xff\xf3", b"\xff\xf2", b"\xff\xe3")
"""How an MP3 begins that tells nothing of itself; as samples it would begin with a crack."""
LETTERS = frozenset(b"\t\n\r" + bytes(range(32, 127)))
FEWEST_LETTERS = 64
SAMPLE = np.dtype("<i2")


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of a stream: settled, or what it sounds like so far."""

    segment: Segment
    settled: bool


def listen(
    runner: Any,
    stream: BinaryIO,
    language: str | None = None,
    *,
    early: bool = True,
    speech_filter: SpeechFilter = SPEECH_FILTER,
) -> Iterator[Part]:
    """Hear a stream to its end: 16-bit samples, mono and at the model's rate unless a WAV header says otherwise.

    The last part of every stretch is the settled one; unless `early` parts are wanted, there are no others. Without a
    given language every stretch is in the one the model makes likeliest, with the settled ones before it where that is
    uncertain.
    """
    rate_hz = runner.sampling_rate_hz
    listener = runner.listener(language, speech_filter=speech_filter)
    longest_s = min(LONGEST_S, runner.longest_s)
    kept, begun = np.zeros(0, np.float32), 0
    for samples in _heard(stream, rate_hz):
        kept = np.concatenate([kept, samples])
        while kept.size > longest_s * rate_hz:
            _, end = windows(kept, rate_hz, longest_s, longest_s / 3)[0]
            yield _part(listener, kept[:end], begun, rate_hz, settled=True)
            begun, kept = begun + end, kept[end:]
        if kept.size and early:
            yield _part(listener, kept, begun, rate_hz, settled=False)
    if kept.size:
        yield _part(listener, kept, begun, rate_hz, settled=True)


def _part(listener: Any, samples: FloatArray, begun: int, rate_hz: int, *, settled: bool) -> Part:
    found = listener.window(samples, settled=settled)
    end_s = (begun + samples.size) / rate_hz
    return Part(Segment(begun / rate_hz, end_s, found.text, found.language), settled)


def _heard(stream: BinaryIO, rate_hz: int) -> Iterator[FloatArray]:
    """Mono samples at a rate, about a second at a time; the rest when the stream ends."""
    head = stream.read(4)
    if head.startswith((*FILES, *LAYER_3)):
        raise DataError("the stream is a file, not samples", hint="name the file, or pipe 16-bit PCM or WAV")
    channels, own_hz, length = _header(stream) if head == RIFF else (1, rate_hz, None)
    left = b"" if head == RIFF else head
    resample = None if own_hz == rate_hz else soxr.ResampleStream(own_hz, rate_hz, 1, dtype="float32")
    size = SAMPLE.itemsize * channels
    at_once = int(EVERY_S * own_hz) * size
    while read := stream.read(at_once if length is None else min(at_once, length)):
        length = None if length is None else length - len(read)
        if left == head and _is_text(head + read):
            raise DataError("the stream is a text, not samples", hint="pipe 16-bit PCM or WAV")
        left += read
        whole = len(left) // size * size
        values = np.frombuffer(left[:whole], SAMPLE).reshape(-1, channels).astype(np.float32)
        left = left[whole:]
        samples = mix_down(values, own_hz) / np.float32(32768)
        yield resample.resample_chunk(samples) if resample else samples
    if resample:
        yield resample.resample_chunk(np.zeros(0, np.float32), last=True)


CHUNK_BYTES = 1 << 16
"""Of a chunk beside the samples that are read at a time."""


def _is_text(read: bytes) -> bool:
    """Whether bytes are plain words: samples of 16 bits would have to be loud to the last, and never near 0."""
    return len(read) >= FEWEST_LETTERS and all(byte in LETTERS for byte in read)


def _header(stream: BinaryIO) -> tuple[int, int, int | None]:
    """Channels and rate that the header of a WAV stream tells, and the bytes of its samples where they are known.

    The stream stands at its samples afterwards.
    """
    stream.read(8)  # length and "WAVE"
    told: tuple[int, ...] = ()
    samples_bytes: int | None = None
    while len(chunk := stream.read(8)) == 8:
        name, length = struct.unpack("<4sI", chunk)
        if name == DATA:
            samples_bytes = length if 0 < length < OPEN_END else None
            break
        body = stream.read(min(length + length % 2, CHUNK_BYTES))
        left = length + length % 2 - len(body)
        while left and (skipped := stream.read(min(left, CHUNK_BYTES))):  # a cover, a list of cues
            left -= len(skipped)
        told = struct.unpack("<HHIIHH", body[:16]) if name == b"fmt " and len(body) >= 16 else told
    if not told or told[0] != PCM or told[5] != 8 * SAMPLE.itemsize or not told[1] or not told[2]:
        raise DataError("the stream is no 16-bit WAV", hint="pipe 16-bit PCM, as `arecord -f S16_LE -r 16000` gives it")
    if told[1] * told[2] > MOST_PER_S:
        said = f"the stream has {told[1]} channels at {told[2]} Hz; {MOST_PER_S:,} samples a second are heard at most"
        raise DataError(said, hint="pipe one channel, as `arecord -c 1 -r 16000` gives it")
    return told[1], told[2], samples_bytes
