"""Images in: any file becomes an RGB picture, any RGB picture the pixels a model expects. PIL and numpy only."""

from __future__ import annotations

import contextlib
import struct
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from penjing.data.image_files import check_complete, open_image_file
from penjing.errors import DataError, ModelError
from penjing.values import FloatArray

MAX_PIXELS = 80_000_000
"""Larger pictures are refused before a pixel is decoded: a few kilobytes can claim gigabytes."""
MAX_RESIZED = 20_000_000
"""A strip of 1 x 12,000 pixels is a few bytes, and gigabytes once its short edge is as long as a model's picture."""
LARGE_PIXELS = 8_000_000
"""Of larger ones a process opens one at a time, whatever the number of its threads: they take 8 bytes a pixel."""
STRIP = 256
WHITE = 255.0
DAMAGED = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    TypeError,
    LookupError,
    ArithmeticError,
    RuntimeError,
    struct.error,
)
"""What Pillow raises where a file is not what it says: its parsers of EXIF and of some formats let it all through."""
_ALONE = threading.RLock()

FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "lanczos": Image.Resampling.LANCZOS,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "box": Image.Resampling.BOX,
    "hamming": Image.Resampling.HAMMING,
}
IMAGE_SETTINGS = ("resize", "resample", "crop", "scale", "mean", "std")


def read_image(source: str | Path | bytes) -> Image.Image:
    """Read a picture from a path or from encoded bytes: RGB, upright, transparency on white, first frame."""
    with open_image(source) as image:
        return image


@contextlib.contextmanager
def open_image(source: str | Path | bytes) -> Iterator[Image.Image]:
    """The same, for as long as a block needs it: while it holds a large picture no other thread decodes one."""
    with contextlib.ExitStack() as held:
        yield _read(source, held)


def _read(source: str | Path | bytes, held: contextlib.ExitStack) -> Image.Image:
    name = "image bytes" if isinstance(source, bytes) else str(source)
    try:
        with open_image_file(source, name) as opened:
            if opened.width * opened.height > MAX_PIXELS:
                raise _too_large(name, f"{opened.width} x {opened.height}")
            if opened.width * opened.height > LARGE_PIXELS:
                held.enter_context(_ALONE)
            check_complete(opened, name)
            _turn_upright(opened)
            return to_rgb(opened)
    except FileNotFoundError as error:
        raise DataError(f"no such image: {name}", hint="check the path, or the file_name column") from error
    except UnidentifiedImageError as error:
        raise DataError(
            f"{name} is not an image", hint="give a JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF or HEIC file"
        ) from error
    except Image.DecompressionBombError as error:
        raise _too_large(name, "hundreds of millions of pixels") from error
    except DAMAGED as error:
        raise DataError(f"{name} cannot be read: {error}", hint="the file is damaged or cut short") from error


def _too_large(name: str, size: str) -> DataError:
    return DataError(f"{name} is too large: {size}", hint=f"shrink it below {MAX_PIXELS // 1_000_000} million pixels")


def _turn_upright(image: Image.Image) -> None:
    """Turn a picture as its EXIF says. Where that alone is damaged, it is taken as it is, as viewers show it."""
    image.load()
    with contextlib.suppress(*DAMAGED):
        ImageOps.exif_transpose(image, in_place=True)


def to_rgb(image: Image.Image) -> Image.Image:
    """Turn any PIL mode into RGB: transparency is laid on white, grey of 16 or 32 bits or floats is scaled to 8."""
    if image.mode.startswith("I") or image.mode == "F":
        image = Image.fromarray(_levels(np.asarray(image), image.mode))
    if "A" in image.getbands() or "transparency" in image.info:
        return _on_white(image)
    return image.convert("RGB")


def _levels(grey: Any, mode: str) -> Any:
    """Grey of more than 8 bits as 256 levels. Integers of 32 bits and floats may hold 0 … 255, 65,535 or 1."""
    if mode.startswith("I;16"):
        return (grey.astype(np.uint16) >> 8).astype(np.uint8)
    values = np.nan_to_num(grey.astype(np.float64), nan=0.0, posinf=WHITE, neginf=0.0)
    highest = values.max(initial=0.0)
    scale = WHITE if mode == "F" and highest <= 1 else 1 / 256 if mode == "I" and highest > WHITE else 1.0
    return np.floor(np.clip(values * scale, 0, WHITE) + (0.5 if mode == "F" else 0.0)).astype(np.uint8)


def _on_white(image: Image.Image) -> Image.Image:
    """Lay a picture on white, strip by strip: at once it would take three further pictures of its size."""
    flat = Image.new("RGB", image.size, "white")
    for top in range(0, image.height, STRIP):
        strip = image.crop((0, top, image.width, min(top + STRIP, image.height))).convert("RGBA")
        flat.paste(strip, (0, top), strip)
    return flat


def resized(width: int, height: int, resize: Mapping[str, int]) -> tuple[int, int]:
    """Return (width, height) after a resize to an exact size, or to a shortest edge with the ratio kept."""
    if "shortest_edge" not in resize:
        return resize["width"], resize["height"]
    edge = resize["shortest_edge"]
    if width <= height:
        return edge, int(edge * height / width)
    return int(edge * width / height), edge


class ImageFrontEnd:
    """Turns RGB pictures into pixel values, as the settings of `image_settings` say.

    Resize, centre crop (black where the picture is too small), scale, normalise; equal to the PIL-backed image
    processors of transformers.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        unknown = sorted(set(settings) - set(IMAGE_SETTINGS))
        if unknown:
            raise ModelError(f"unknown image setting {unknown[0]!r}", hint=f"known: {', '.join(IMAGE_SETTINGS)}")
        self.resize: Mapping[str, int] | None = settings.get("resize")
        self.filter = FILTERS[settings.get("resample") or "bilinear"]
        self.crop: Mapping[str, int] | None = settings.get("crop")
        self._values = _values(settings)

    def __call__(self, image: Image.Image) -> FloatArray:
        """Return the pixel values of one RGB picture: float32 (3, height, width)."""
        if self.resize is not None:
            size = resized(image.width, image.height, self.resize)
            if size[0] * size[1] > MAX_RESIZED:
                shape = f"{image.width} x {image.height}"
                raise DataError(f"the picture is too narrow to look at: {shape}", hint="cut it to what matters")
            image = image.resize(size, self.filter)
        if self.crop is not None:
            left = (image.width - self.crop["width"]) // 2
            top = (image.height - self.crop["height"]) // 2
            image = image.crop((left, top, left + self.crop["width"], top + self.crop["height"]))
        levels = np.asarray(image)
        pixels: FloatArray = np.empty((3, *levels.shape[:2]), np.float32)
        for channel, values in enumerate(self._values):
            np.take(values, levels[..., channel], out=pixels[channel], mode="clip")  # "raise" would copy
        return pixels


def _values(settings: Mapping[str, Any]) -> FloatArray:
    """What each of the 256 levels of each channel becomes, (3, 256): looked up, it takes a third of the time."""
    values = np.tile(np.arange(256, dtype=np.float32), (3, 1))
    if settings.get("scale") is not None:
        values = (values.astype(np.float64) * settings["scale"]).astype(np.float32)
    if settings.get("mean") is not None and settings.get("std") is not None:
        mean, std = (np.asarray(settings[name], dtype=np.float32)[:, None] for name in ("mean", "std"))
        values = (values - mean) / std
    return values
