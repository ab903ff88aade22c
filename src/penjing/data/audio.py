"""Sound in: any file libsndfile knows becomes mono float32 samples at the rate a model expects."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soundfile
import soxr

from penjing.data import streamed_wav
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
    """Read a sound as mono float32 samples (n,) at `rate_hz`: channels are averaged, other rates resampled by soxr.

    It is decoded block by block, so what it takes is the result, whatever its own rate and channels are.
    """
    found, resample = bytearray(), None
    for block, own_hz in _blocks(source, longest_s):
        mono = block[:, 0] if block.shape[1] == 1 else block.mean(axis=1, dtype=np.float32)
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
            hint="average the channels; divide 16-bit samples by 32768; or give the file itself",
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
    """A sound as it is stored, block by block; at least one block."""
    name = _name(source)
    if not isinstance(source, bytes):
        _check_file(Path(source), name)
    count = 0
    try:
        with streamed_wav.opened(source) as file, _Forwards(file) as opened:
            rate_hz, channels = int(opened.samplerate), int(opened.channels)
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
            most = int(longest_s * rate_hz)
            _check_length(name, opened.frames, rate_hz, most)
            while len(block := opened.read(BLOCK // channels, dtype="float32", always_2d=True)):
                count += len(block)
                _check_length(name, count, rate_hz, most)
                if not np.isfinite(block).all():
                    hint = "the file is damaged: export it again"
                    raise DataError(f"{name} has samples that are not finite numbers", hint=hint)
                yield Sound(block, rate_hz)
    except (soundfile.LibsndfileError, RuntimeError, TypeError, ValueError) as error:
        raise DataError(
            f"{name} is not a sound that can be read",
            hint="give WAV, FLAC, Ogg or MP3; `ffmpeg -i FILE out.wav` converts others",
        ) from error
    if not count:
        raise DataError(f"{name} has no samples", hint="the recording is empty: leave it out")


def audio_length(source: str | Path | bytes) -> tuple[int, int]:
    """Read (frames, rate in Hz) from the header alone; (0, 0) where there is none to read."""
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
