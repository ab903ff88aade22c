"""What a row is about, whatever file it came in: its decoded pixels or samples and its texts, as one hash."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Hashable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from penjing.data.audio import audio_length, decode_audio
from penjing.data.image import DAMAGED, read_image
from penjing.data.image_files import open_image_file
from penjing.data.row import PROVENANCE, Media, Row
from penjing.errors import DataError
from penjing.stamps import Memo

_OF_FILES: Mapping[Media, Memo[str]] = {"image": Memo(), "audio": Memo()}
_OF_BYTES: dict[tuple[Media, bytes], str] = {}
"""What files hold once they are decoded, by the digest of the encoded bytes: that is quicker than to decode them."""


def content_key(row: Row) -> str:
    """sha256 of a row's decoded pixels or samples and its text fields; the id and the encoding do not count.

    A file is decoded once, however often it is asked for.
    """
    digest = hashlib.sha256(text_key(row).encode())
    if row.image is not None:
        digest.update(_media_key(row.image, "image").encode())
    if row.sound is not None:
        digest.update(_media_key(row.sound, "audio").encode())
    return digest.hexdigest()


def _media_key(source: Path | bytes, media: Media) -> str:
    """sha256 of decoded pixels or samples."""
    if isinstance(source, Path):
        if not source.is_file():
            return _decoded_key(source, media)  # which says what is wrong with it
        return _OF_FILES[media].get([source], lambda: _decoded_key(source, media))
    key = media, hashlib.sha256(source).digest()
    if key not in _OF_BYTES:
        _OF_BYTES[key] = _decoded_key(source, media)
    return _OF_BYTES[key]


def _decoded_key(source: Path | bytes, media: Media) -> str:
    if media == "image":
        image = read_image(source)
        return hashlib.sha256(f"image {image.size}".encode() + image.tobytes()).hexdigest()
    sound = decode_audio(source)
    digest = hashlib.sha256(f"audio {sound.rate_hz} {sound.samples.shape}".encode())
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
