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
from penjing.serve.budget import Load
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


def picture(content: bytes, load: Load) -> Any:
    """An RGB picture of encoded bytes. What it takes is known from its header, and counted before it is decoded."""
    limits, sides = load.limits, image_sides(content)
    if sides and sides[0] * sides[1] > limits.image_pixels:
        message = f"the picture has {sides[0] * sides[1]:,} pixels; {limits.image_pixels:,} are read at most"
        raise Refusal(413, message, code="too_large")
    if sides and sides[1] > limits.image_side:
        message = f"a side of the picture has {sides[1]:,} pixels; {limits.image_side:,} are read at most"
        raise Refusal(413, message, code="too_large")
    if sides:
        load.take("pixels", sides[0] * sides[1])
    return read_image(content)


def samples(content: bytes, rate_hz: int, load: Load, param: str = "file") -> FloatArray:
    """Mono samples (n,) of encoded bytes at `rate_hz`.

    Their length is known from the header, and counted before they are decoded; decoding stops where the header lied.
    """
    limits, (frames, own_hz) = load.limits, audio_length(content)
    if own_hz and frames / own_hz > limits.audio_s:
        message = f"the sound lasts {frames / own_hz:.0f} s; {limits.audio_s:.0f} s are heard at most"
        raise Refusal(413, message, code="too_large")
    load.take("audio_s", frames / own_hz if own_hz else 0)
    try:
        return read_audio(content, rate_hz, limits.audio_s)
    except DataError as error:
        raise mistaken(error, param) from error
