"""Media of rows: decoded at their own rate or size, written without loss, and whether anything is in them."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from penjing.data.audio import decode_audio
from penjing.data.channels import mix_down
from penjing.data.image import open_image
from penjing.data.row import Row
from penjing.data.shifts.audio import is_silent
from penjing.data.shifts.inputs import InputsOf, MediaNames, checked_inputs, media_source
from penjing.data.shifts.registry import Modality
from penjing.errors import DataError
from penjing.values import FloatArray

LONGEST_SIDE = 1536
"""Larger pictures are shrunk to it before they are distorted: no image encoder here reads as many pixels."""

LARGEST_WAV = 2**32 - 1024


class Clip(NamedTuple):
    """Mono samples (n,), float32, at the rate of the file."""

    samples: FloatArray
    rate_hz: int


def read_clip(source: Path | bytes) -> Clip:
    """Decode a sound at its own rate; channels are mixed down."""
    sound = decode_audio(source)
    return Clip(np.ascontiguousarray(mix_down(sound.samples, sound.rate_hz)), sound.rate_hz)


def write_clip(path: Path, clip: Clip) -> None:
    """Write a WAV file of float32 samples; peaks beyond full scale stay.

    The header is written here because libsndfile puts the time of day into that of floats (its PEAK chunk): the same
    samples give the same bytes. Layout: RIFF chunks `fmt ` (format 3, IEEE float), `fact` and `data`.

    Raises:
        DataError: the samples take more than the 4 GiB that a WAV file can hold.
    """
    samples = clip.samples.astype("<f4", copy=False)
    if samples.nbytes > LARGEST_WAV:
        raise DataError("the sound is too long to be written as WAV", hint="cut it into shorter files first")
    form = struct.pack("<4sIHHIIHHH", b"fmt ", 18, 3, 1, clip.rate_hz, 4 * clip.rate_hz, 4, 32, 0)
    fact = struct.pack("<4sII", b"fact", 4, len(samples))
    chunks = b"WAVE" + form + fact + struct.pack("<4sI", b"data", samples.nbytes)
    with path.open("wb") as file:
        file.write(struct.pack("<4sI", b"RIFF", len(chunks) + samples.nbytes) + chunks)
        file.write(samples.data)


def read_picture(source: Path | bytes) -> Image.Image:
    """Decode a picture as RGB, its longest side at most 1536 pixels."""
    with open_image(source) as image:
        if max(image.size) <= LONGEST_SIDE:
            return image
        width, height = (max(1, round(side * LONGEST_SIDE / max(image.size))) for side in image.size)
        return image.resize((width, height), Image.Resampling.LANCZOS)


def write_picture(path: Path, image: Image.Image) -> None:
    """Write a PNG file, quickly rather than small."""
    image.save(path, "PNG", compress_level=1)


def is_constant(image: Image.Image) -> bool:
    """Whether all pixels of a picture are the same."""
    pixels = np.asarray(image)
    return bool((pixels == pixels[0, 0]).all())


def fault_of(source: Path | bytes, modality: Modality) -> str:
    """What makes a picture or sound useless: silence, a constant image; empty where there is something in it."""
    if modality == "audio":
        return "the sound is silent or one constant value" if is_silent(*read_clip(source)) else ""
    return "all pixels of the image are the same" if is_constant(read_picture(source)) else ""


def check_calibration_media(rows: Sequence[Row], inputs_of: InputsOf) -> None:
    """Refuse rows that would spoil the ranges of activations.

    Each file is decoded once, however many rows share it.

    Raises:
        DataError: a row's sound is silent (its loudest parts below -60 dBFS), constant, or not finite; all pixels of
            its image are the same; its text is empty; or one of them cannot be read. The message names the row.
    """
    names = MediaNames(rows)
    checked: set[tuple[str, Modality]] = set()
    for row in rows:
        for modality, columns in checked_inputs(row, inputs_of).items():
            for column in columns:
                source = media_source(row, column)
                if modality == "text":
                    fault = "" if row.fields[column].strip() else f"the text in {column!r} is empty"
                elif source is None or (names.of_source(source), modality) in checked:
                    continue
                else:
                    checked.add((names.of_source(source), modality))
                    with naming(row):
                        fault = fault_of(source, modality)
                if fault:
                    hint = "it would spoil the ranges of activations: leave the row out of the calibration data"
                    raise DataError(f"row {row.id!r}: {fault}", hint=hint)


@contextmanager
def naming(row: Row) -> Iterator[None]:
    """Name the row in an error about its media."""
    try:
        yield
    except DataError as error:
        raise type(error)(f"row {row.id!r}: {error.message}", hint=error.hint) from error
