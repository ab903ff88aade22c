"""Tiles: sizes and order; equality with transformers is tested beside the models that read them."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from penjing.data.tiles import TileFrontEnd, cuts_tiles, tile_settings
from penjing.errors import ModelError

FILE = {
    "image_processor_type": "Idefics3ImageProcessor",
    "size": {"longest_edge": 64},
    "max_image_size": {"longest_edge": 32},
}


def test_the_kind_is_told_by_its_name():
    assert cuts_tiles(FILE)
    assert cuts_tiles({"image_processor_type": "SmolVLMImageProcessorFast"})
    assert not cuts_tiles({"image_processor_type": "CLIPImageProcessor"})
    assert not cuts_tiles({})


@pytest.mark.parametrize(
    ("size", "rows", "columns"), [((64, 64), 2, 2), ((200, 30), 1, 2), ((30, 200), 2, 1), ((1, 1), 2, 2)]
)
def test_tiles_cover_the_picture_row_after_row(size, rows, columns):
    found = TileFrontEnd(tile_settings(FILE))(Image.new("RGB", size, "red"))
    assert (found.rows, found.columns) == (rows, columns)
    assert found.pixels.shape == (rows * columns + 1, 3, 32, 32)


def test_each_tile_is_where_it_belongs():
    colours = np.zeros((64, 64, 3), np.uint8)
    colours[:32, :32], colours[:32, 32:], colours[32:, :32] = 10, 20, 30
    found = TileFrontEnd(tile_settings({**FILE, "do_normalize": False, "do_rescale": False}))(Image.fromarray(colours))
    assert [tile.mean() for tile in found.pixels[:4]] == [10, 20, 30, 0]


def test_one_tile_is_the_whole():
    small = {**FILE, "size": {"longest_edge": 32}}
    found = TileFrontEnd(tile_settings(small))(Image.new("RGB", (50, 40)))
    assert (found.rows, found.columns, len(found.pixels)) == (0, 0, 1)


def test_a_picture_is_never_larger_than_4096():
    settings = tile_settings({**FILE, "size": {"longest_edge": 9000}, "do_image_splitting": False})
    assert TileFrontEnd(settings)(Image.new("RGB", (30, 20))).pixels.shape == (1, 3, 32, 32)


@pytest.mark.parametrize("changed", [{"do_something": True}, {"size": {"height": 3, "width": 3}}])
def test_what_is_not_known_is_refused(changed):
    with pytest.raises(ModelError, match="unknown image"):
        tile_settings({**FILE, **changed})
