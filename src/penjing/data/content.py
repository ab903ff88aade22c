"""What a row is about, whatever file it came in: its decoded pixels or samples and its texts, as one hash."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Hashable
from pathlib import Path

import numpy as np
from PIL import Image

from penjing.data.audio import audio_length, decode_audio
from penjing.data.image import DAMAGED, read_image
from penjing.data.image_files import open_image_file
from penjing.data.row import PROVENANCE, Row
from penjing.errors import DataError


def content_key(row: Row) -> str:
    """sha256 of a row's decoded pixels or samples and its text fields; the id and the encoding do not count."""
    digest = hashlib.sha256(text_key(row).encode())
    if row.image is not None:
        image = read_image(row.image)
        digest.update(f"image {image.size}".encode())
        digest.update(image.tobytes())
    if row.sound is not None:
        sound = decode_audio(row.sound)
        digest.update(f"audio {sound.rate_hz} {sound.samples.shape}".encode())
        digest.update(np.ascontiguousarray(sound.samples).data)
    return digest.hexdigest()


def text_key(row: Row) -> str:
    """The text fields of a row in one canonical string; where the row is from does not count."""
    fields = {name: text for name, text in sorted(row.fields.items()) if name != PROVENANCE}
    return json.dumps(fields, ensure_ascii=False)


def outline(row: Row) -> Hashable:
    """What equal contents share at the least, without decoding: texts, the length of a sound, the sides of an image."""
    if row.file is None:
        return text_key(row), None
    return text_key(row), audio_length(row.file) if row.media == "audio" else image_sides(row.file)


def image_sides(source: Path | bytes) -> tuple[int, ...]:
    """Read the two sides of an image in pixels, shorter first, from its header; () where there is none to read."""
    try:
        with open_image_file(source, "the image") as opened:
            return tuple(sorted(opened.size))
    except (*DAMAGED, DataError, Image.DecompressionBombError):
        return ()
