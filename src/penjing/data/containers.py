"""Sound of containers that libsndfile does not read (MP4, WebM, AAC, WMA, AMR), by PyAV of the extra `media`."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from penjing.data.formats import need_package
from penjing.errors import DataError
from penjing.values import FloatArray

HEAD_BYTES = 16
ISO_MEDIA = "mov"
ISO_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")
"""Boxes that an MP4 or QuickTime file begins with, from its fifth byte."""
SIGNATURES = {
    b"\x1aE\xdf\xa3": "matroska",
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11": "asf",
    b"#!AMR": "amr",
    b"\xff\xf1": "aac",
    b"\xff\xf9": "aac",
}
"""How files begin, and the demuxer of FFmpeg that reads them. No other one is tried: some open further files or URLs
that a file names."""
MICROSECONDS = 1_000_000


def demuxer_of(source: str | Path | bytes) -> str | None:
    """Return the demuxer of FFmpeg for a file by its first bytes; None for formats that are read without it."""
    if isinstance(source, bytes):
        head = source[:HEAD_BYTES]
    else:
        try:
            with Path(source).open("rb") as file:
                head = file.read(HEAD_BYTES)
        except (OSError, ValueError):
            return None
    if head[4:8] in ISO_BOXES:
        return ISO_MEDIA
    return next((name for signature, name in SIGNATURES.items() if head.startswith(signature)), None)


class Container:
    """A container that is open, and its first sound."""

    def __init__(self, source: str | Path | bytes, demuxer: str, name: str) -> None:
        self._av: Any = need_package("av", name)
        self._name = name
        self._file = io.BytesIO(source) if isinstance(source, bytes) else Path(source).open("rb")  # noqa: SIM115
        try:
            self._opened = self._av.open(self._file, format=demuxer, metadata_errors="ignore")
        except (self._av.FFmpegError, ValueError) as error:
            self._file.close()
            raise DataError(
                f"{name} is not a sound that can be read", hint="the file is damaged or cut short"
            ) from error
        if not self._opened.streams.audio:
            self.close()
            raise DataError(f"{name} has no sound", hint="it holds a picture or a video without sound: leave it out")
        self._stream = self._opened.streams.audio[0]
        self.rate_hz = int(self._stream.codec_context.sample_rate or 0)
        self.channels = int(self._stream.codec_context.channels or 0)

    def __enter__(self) -> Container:
        """Return itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close the file."""
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._opened.close()
        self._file.close()

    @property
    def frames(self) -> int:
        """Length in frames, as the header says; 0 where it does not, as in WebM from a browser's recorder."""
        if self._stream.duration and self._stream.time_base:
            return max(0, int(self._stream.duration * self._stream.time_base * self.rate_hz))
        return max(0, int((self._opened.duration or 0) * self.rate_hz / MICROSECONDS))

    def blocks(self) -> Iterator[FloatArray]:
        """Decode the sound, at least a second at a time: float32 (frames, channels).

        Raises:
            DataError: the sound is damaged, or changes its rate or its channels.
        """
        resampler = self._av.AudioResampler(format="fltp", layout=self._stream.codec_context.layout, rate=self.rate_hz)
        parts: list[FloatArray] = []
        try:
            for frame in self._opened.decode(self._stream):
                parts += [part.to_ndarray() for part in resampler.resample(frame)]
                waiting = sum(part.shape[1] for part in parts)
                if waiting >= self.rate_hz:
                    whole = np.concatenate(parts, axis=1)
                    seconds = waiting // self.rate_hz * self.rate_hz
                    parts = [whole[:, seconds:]]
                    yield np.ascontiguousarray(whole[:, :seconds].T)
        except (self._av.FFmpegError, ValueError) as error:
            raise DataError(f"{self._name} is damaged: {error}", hint="convert it again from its source") from error
        if parts and sum(part.shape[1] for part in parts):
            yield np.ascontiguousarray(np.concatenate(parts, axis=1).T)
