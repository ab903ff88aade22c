"""Pictures and sounds that come inside of a request: data URIs and uploads, checked before they are decoded."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any

from penjing.data.audio import audio_length, read_audio
from penjing.data.content import image_sides
from penjing.data.image import read_image
from penjing.errors import DataError
from penjing.serve.limits import Limits
from penjing.serve.refusals import Refusal, mistaken
from penjing.values import FloatArray

ANY_DATA = re.compile(r"data:[\w.+-]+/[\w.+-]+\s*[;,]", re.IGNORECASE)
DATA = re.compile(r"data:(image|audio|video)/[\w.+-]+(?:;[\w.+=-]+)*;base64,", re.IGNORECASE)


def is_data(text: str) -> bool:
    """Whether a text is a data URI, of whatever: only those of pictures and sounds can be decoded."""
    return ANY_DATA.match(text) is not None


def decoded(uri: str, param: str) -> tuple[str, bytes]:
    """What a data URI holds: image or audio, and its bytes. Any other address is refused: nothing is fetched."""
    match = DATA.match(uri)
    if match is None:
        raise Refusal(400, "only data URIs of pictures and sounds are read: data:image/png;base64,…", param=param)
    return ("image" if match[1].lower() == "image" else "audio"), from_base64(uri[match.end() :], param)


def from_base64(text: str, param: str) -> bytes:
    """Bytes that a text holds."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Refusal(400, "what should be a picture or a sound is no base64", param=param) from error


def picture(content: bytes, limits: Limits) -> Any:
    """An RGB picture of encoded bytes."""
    sides = image_sides(content)
    if sides and sides[0] * sides[1] > limits.image_pixels:
        said = f"the picture has {sides[0] * sides[1]:,} pixels; {limits.image_pixels:,} are read at most"
        raise Refusal(413, said, code="too_large")
    return read_image(content)


def samples(content: bytes, rate_hz: int, limits: Limits) -> FloatArray:
    """Mono samples of encoded bytes."""
    frames, own_hz = audio_length(content)
    if own_hz and frames / own_hz > limits.audio_s:
        said = f"the sound lasts {frames / own_hz:.0f} s; {limits.audio_s:.0f} s are heard at most"
        raise Refusal(413, said, code="too_large")
    try:
        return read_audio(content, rate_hz, limits.audio_s)
    except DataError as error:
        raise mistaken(error, "file") from error
