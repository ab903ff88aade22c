"""Sound in: files that libsndfile or FFmpeg (extra `media`) reads become mono float32 samples at a model's rate."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soundfile
import soxr

from penjing.data import streamed_wav
from penjing.data.channels import mix_down
from penjing.data.containers import Container, demuxer_of
from penjing.errors import DataError
from penjing.values import FloatArray

LONGEST_S = 4 * 3600.0
"""Longer recordings are refused before they are decoded: four hours at 16 kHz are already 0.9 GB of float32."""
LEAST_HZ = 1000
"""At 1 Hz a WAV of 3 kB lasts 28 minutes: 27 million samples at 16 kHz. Nothing is recorded at such rates."""
MOST_PER_S = 768_000
"""Values of all channels in a second, 16 at 48 kHz or 4 at 192: a few kilobytes of FLAC can claim hundreds of times as
many."""
MOST_WHOLE = 1_500_000_000
"""Values that are decoded into one array: four hours in stereo at 48 kHz."""
BLOCK = 1 << 20
"""Values that are decoded at a time, where a sound is not kept as it is stored."""


class _Forwards(soundfile.SoundFile):  # type: ignore[misc]
    """A file that is read from its start to its end: soundfile seeks after each read, which MP3 answers with clicks."""

    def seekable(self) -> bool:
        """Not once."""
        return False


class Sound(NamedTuple):
    """Decoded samples (frames, channels), float32, at the rate of the file."""

    samples: FloatArray
    rate_hz: int


def read_audio(source: str | Path | bytes, rate_hz: int = 16000, longest_s: float = LONGEST_S) -> FloatArray:
    """Read a sound as mono float32 samples (n,) at `rate_hz`: channels are mixed down, other rates resampled by soxr.

    It is decoded block by block, so what it takes is the result, whatever its own rate and channels are.
    """
    found, resample = bytearray(), None
    for block, own_hz in _blocks(source, longest_s):
        mono = mix_down(block, own_hz)
        if own_hz != rate_hz:
            resample = resample or soxr.ResampleStream(own_hz, rate_hz, 1, dtype="float32", quality="HQ")
            mono = resample.resample_chunk(np.ascontiguousarray(mono))
        found += mono.tobytes()
    if resample is not None:
        found += resample.resample_chunk(np.zeros(0, np.float32), last=True).tobytes()
    if not found:
        raise DataError(f"{_name(source)} is shorter than one sample at {rate_hz} Hz", hint="leave it out")
    return np.frombuffer(found, np.float32)


def read_sound(sound: Any, rate_hz: int) -> FloatArray:
    """What callers hand over as a sound -> mono float32 samples (n,) at `rate_hz`.

    A path or an encoded file is read; an array must already be mono floats at that rate.
    """
    if isinstance(sound, (str, Path, bytes)):
        return read_audio(sound, rate_hz)
    if not isinstance(sound, np.ndarray):
        raise DataError(f"{type(sound).__name__} is no sound", hint="give a path, an encoded file, or samples")
    if sound.ndim != 1 or not np.issubdtype(sound.dtype, np.floating):
        raise DataError(
            f"samples must be one row of floats, not {sound.dtype} {sound.shape}",
            hint="mix the channels down; divide 16-bit samples by 32768; or give the file itself",
        )
    with np.errstate(over="ignore"):
        samples: FloatArray = sound.astype(np.float32, copy=False)
    if samples.size == 0 or not np.isfinite(samples).all():
        what = "no samples" if samples.size == 0 else "samples that are not finite numbers"
        raise DataError(f"the sound has {what}", hint="the recording is empty or damaged: leave it out")
    return samples


def decode_audio(source: str | Path | bytes, longest_s: float = LONGEST_S) -> Sound:
    """Decode a sound as it is stored; what is not a sound, empty, endless or not finite is a DataError."""
    blocks: list[Sound] = []
    for block in _blocks(source, longest_s):
        blocks.append(block)
        if sum(one.samples.size for one in blocks) > MOST_WHOLE:
            raise DataError(f"{_name(source)} is too large to be decoded whole", hint="cut it into shorter files first")
    return Sound(np.concatenate([one.samples for one in blocks]), blocks[0].rate_hz)


def _blocks(source: str | Path | bytes, longest_s: float) -> Iterator[Sound]:
    """A sound as it is stored, block by block, each of whole seconds but the last; at least one block."""
    name = _name(source)
    if not isinstance(source, bytes):
        _check_file(Path(source), name)
    count = 0
    demuxer = demuxer_of(source)
    opened = _sndfile_blocks(source, name) if demuxer is None else _container_blocks(source, demuxer, name)
    for block, rate_hz, frames in opened:
        most = int(longest_s * rate_hz)
        count += len(block)
        _check_length(name, max(frames, count), rate_hz, most)
        if not np.isfinite(block).all():
            hint = "the file is damaged: export it again"
            raise DataError(f"{name} has samples that are not finite numbers", hint=hint)
        if len(block):
            yield Sound(block, rate_hz)
    if not count:
        raise DataError(f"{name} has no samples", hint="the recording is empty: leave it out")


class _Block(NamedTuple):
    """Samples (frames, channels), their rate, and the length that the header of their file claims."""

    samples: FloatArray
    rate_hz: int
    file_frames: int


def _sndfile_blocks(source: str | Path | bytes, name: str) -> Iterator[_Block]:
    """Blocks of a file that libsndfile reads; the first is empty, so that the header can be judged before."""
    try:
        with streamed_wav.opened(source) as file, _Forwards(file) as opened:
            rate_hz, channels = int(opened.samplerate), int(opened.channels)
            _check_rate(name, rate_hz, channels)
            yield _Block(np.zeros((0, channels), np.float32), rate_hz, int(opened.frames))
            seconds = max(1, BLOCK // (channels * rate_hz))  # whole ones, so that channels are mixed as in one block
            while len(block := opened.read(seconds * rate_hz, dtype="float32", always_2d=True)):
                yield _Block(block, rate_hz, 0)
    except (soundfile.LibsndfileError, RuntimeError, TypeError, ValueError) as error:
        raise DataError(
            f"{name} is not a sound that can be read",
            hint="give WAV, FLAC, Ogg, MP3, MP4, AAC or WebM; `ffmpeg -i FILE out.wav` converts others",
        ) from error


def _container_blocks(source: str | Path | bytes, demuxer: str, name: str) -> Iterator[_Block]:
    """Blocks of a file that FFmpeg reads; the first is empty, as above."""
    with Container(source, demuxer, name) as opened:
        _check_rate(name, opened.rate_hz, opened.channels)
        yield _Block(np.zeros((0, opened.channels), np.float32), opened.rate_hz, opened.frames)
        for block in opened.blocks():
            yield _Block(block, opened.rate_hz, 0)


def _check_rate(name: str, rate_hz: int, channels: int) -> None:
    if rate_hz < 1 or channels < 1:
        raise DataError(f"{name} does not say its sampling rate or channels", hint="the file is damaged")
    if rate_hz < LEAST_HZ:
        raise DataError(
            f"{name} has {rate_hz} samples a second; sounds have {LEAST_HZ:,} at least",
            hint="its header is damaged: record or export it again",
        )
    if rate_hz * channels > MOST_PER_S:
        raise DataError(
            f"{name} has {channels} channels at {rate_hz} Hz; {MOST_PER_S:,} samples a second are read at most",
            hint="`ffmpeg -i FILE -ac 1 -ar 16000 out.wav` makes it smaller",
        )


def audio_length(source: str | Path | bytes) -> tuple[int, int]:
    """Read (frames, rate in Hz) from the header alone; (0, 0) where there is none to read."""
    demuxer = demuxer_of(source)
    if demuxer is not None:
        try:
            with Container(source, demuxer, _name(source)) as opened:
                return opened.frames, opened.rate_hz
        except DataError:
            return 0, 0
    try:
        with streamed_wav.opened(source) as file:
            found = soundfile.info(file)
    except (soundfile.LibsndfileError, RuntimeError, TypeError, OSError):
        return 0, 0
    return int(found.frames), int(found.samplerate)


def _check_file(path: Path, name: str) -> None:
    if not path.exists():
        raise DataError(f"no such sound: {name}", hint="check the path, or the file_name column")
    if path.is_dir():
        raise DataError(f"{name} is a folder, not a sound", hint="name the files inside it")
    if not os.access(path, os.R_OK):
        raise DataError(f"{name} may not be read", hint="check the permissions of the file")
    if path.is_file() and path.stat().st_size == 0:
        raise DataError(f"{name} is empty (0 bytes)", hint="the download or the recording failed: leave it out")


def _check_length(name: str, frames: int, rate_hz: int, most: int) -> None:
    if frames > most:
        raise DataError(
            f"{name} lasts more than {most / rate_hz:.0f} s ({frames / rate_hz:.0f} s)",
            hint="cut it into shorter files first",
        )


def _name(source: str | Path | bytes) -> str:
    return "the sound" if isinstance(source, bytes) else str(source)
