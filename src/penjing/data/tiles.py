"""Pictures as a grid of square tiles and the whole once more: Idefics3 and SmolVLM look closely, then from afar.

Equal to the PIL-backed image processors of transformers. Every tile has the full size, so nothing is ever padded.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from penjing.data.image import FILTERS, ImageFrontEnd
from penjing.data.image_settings import filter_name, per_channel
from penjing.errors import ModelError
from penjing.values import FloatArray

LONGEST_SIDE = 4096
"""No picture is blown up beyond this before it is cut."""
STANDARD = [0.5, 0.5, 0.5]
KINDS = ("Idefics3ImageProcessor", "SmolVLMImageProcessor")
READ = frozenset(
    {
        *("size", "max_image_size", "resample", "rescale_factor", "image_mean", "image_std", "do_image_splitting"),
        *("do_resize", "do_rescale", "do_normalize"),
    }
)
HARMLESS = frozenset(
    {
        *READ,
        *("image_processor_type", "processor_class", "auto_map", "do_pad", "do_convert_rgb", "return_row_col_info"),
        *("data_format", "input_data_format", "return_tensors", "device", "disable_grouping", "image_seq_len"),
        *("_valid_processor_keys", "video_sampling"),
    }
)
"""Keys that are read here, or that change nothing for one picture on a CPU."""


def cuts_tiles(preprocessor_config: Mapping[str, Any]) -> bool:
    """Return whether an image processor's file is of the kind that cuts pictures into tiles."""
    return str(preprocessor_config.get("image_processor_type") or "").startswith(KINDS)


def tile_settings(preprocessor_config: Mapping[str, Any]) -> dict[str, Any]:
    """Normalise such a file: {longest, tile, split, resample, scale, mean, std}, None where a step is left out.

    `tile` is the side of a tile in pixels, `longest` the side that the picture is brought to first, `split` whether it
    is cut at all or only looked at as a whole.
    """
    for key, value in preprocessor_config.items():
        if key not in HARMLESS and value not in (None, False):
            hint = "this image processor does something penjing has not learnt yet"
            raise ModelError(f"unknown image processor option {key!r}", hint=hint)
    given = {key: value for key, value in preprocessor_config.items() if value is not None}
    normalise = given.get("do_normalize", True)
    return {
        "longest": _edge(given.get("size", {"longest_edge": 4 * 364})) if given.get("do_resize", True) else None,
        "tile": _edge(given.get("max_image_size", {"longest_edge": 364})),
        "split": bool(given.get("do_image_splitting", True)),
        "resample": filter_name(given.get("resample", 1)),
        "scale": float(given.get("rescale_factor", 1 / 255)) if given.get("do_rescale", True) else None,
        "mean": per_channel(given.get("image_mean", STANDARD)) if normalise else None,
        "std": per_channel(given.get("image_std", STANDARD)) if normalise else None,
    }


def _edge(size: Any) -> int:
    if isinstance(size, Mapping) and size.get("longest_edge"):
        return int(size["longest_edge"])
    raise ModelError(f"unknown image size {size!r}", hint="known here: longest_edge")


@dataclass(frozen=True, slots=True, eq=False)
class Tiles:
    """Pixel values (tiles, 3, side, side), row after row and the whole picture last; 0 rows: the whole alone."""

    pixels: FloatArray
    rows: int = 0
    columns: int = 0


class TileFrontEnd:
    """Turns RGB pictures into tiles, as the settings of `tile_settings` say."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._longest: int | None = settings["longest"]
        self._tile: int = settings["tile"]
        self._split: bool = settings["split"]
        self._filter = FILTERS[settings["resample"]]
        self._scaled = ImageFrontEnd({key: settings[key] for key in ("scale", "mean", "std")})

    def __call__(self, image: Image.Image) -> Tiles:
        """Bring the picture to its longest side, cut it, and shrink it to one tile."""
        if self._longest is not None:
            image = image.resize(_within(*_stretched(image.width, image.height, self._longest)), self._filter)
        if not self._split:
            return Tiles(self._pixels([self._whole(image)]))
        image = image.resize(_whole_tiles(image.width, image.height, self._tile), self._filter)
        columns, rows = image.width // self._tile, image.height // self._tile
        if rows == columns == 1:
            return Tiles(self._pixels([image]))
        corners = [(column * self._tile, row * self._tile) for row in range(rows) for column in range(columns)]
        cut = [image.crop((left, top, left + self._tile, top + self._tile)) for left, top in corners]
        return Tiles(self._pixels([*cut, self._whole(image)]), rows, columns)

    def _whole(self, image: Image.Image) -> Image.Image:
        return image.resize((self._tile, self._tile), self._filter)

    def _pixels(self, images: list[Image.Image]) -> FloatArray:
        return np.stack([self._scaled(image) for image in images])


def _stretched(width: int, height: int, longest: int) -> tuple[int, int]:
    """The longer side becomes `longest`, the shorter follows, made even."""
    ratio = width / height
    if width >= height:
        shorter = int(longest / ratio)
        return longest, max(shorter + shorter % 2, 1)
    shorter = int(longest * ratio)
    return max(shorter + shorter % 2, 1), longest


def _within(width: int, height: int) -> tuple[int, int]:
    """Shrink to LONGEST_SIDE."""
    ratio = width / height
    if width >= height and width > LONGEST_SIDE:
        return LONGEST_SIDE, max(int(LONGEST_SIDE / ratio), 1)
    if height > width and height > LONGEST_SIDE:
        return max(int(LONGEST_SIDE * ratio), 1), LONGEST_SIDE
    return width, height


def _whole_tiles(width: int, height: int, tile: int) -> tuple[int, int]:
    """The next size, upwards, that whole tiles cover."""
    ratio = width / height
    if width >= height:
        width = math.ceil(width / tile) * tile
        return width, math.ceil(int(width / ratio) / tile) * tile
    height = math.ceil(height / tile) * tile
    return math.ceil(int(height * ratio) / tile) * tile, height
