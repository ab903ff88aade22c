"""Distortions of pictures: each does what its name says, at every size."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from penjing.data.shifts import image
from penjing.data.shifts.registry import AUGMENTATIONS, GATE_SHIFTS, gate_shift, of_modality
from penjing.data.shifts.seeds import generator

pytestmark = pytest.mark.shop

ALL = [*of_modality(GATE_SHIFTS, "image"), *of_modality(AUGMENTATIONS, "image")]


def scenery(width: int = 224, height: int = 224) -> Image.Image:
    """A slope of colours with shapes on it."""
    across, down = np.meshgrid(np.linspace(60, 180, width), np.linspace(60, 180, height))
    picture = Image.fromarray(np.stack([across, down, 240 - across], axis=2).astype(np.uint8))
    draw = ImageDraw.Draw(picture)
    draw.rectangle((width * 0.2, height * 0.2, width * 0.5, height * 0.5), fill=(200, 40, 40))
    draw.ellipse((width * 0.5, height * 0.5, width * 0.9, height * 0.8), fill=(40, 60, 220))
    return picture


def pixels(picture: Image.Image) -> np.ndarray[Any, Any]:
    return np.asarray(picture).astype(np.float64)


def shifted(name: str, picture: Image.Image, seed: int = 0) -> Image.Image:
    return gate_shift(name).apply(picture, generator(seed, "row", name))  # type: ignore[no-any-return]


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.name)
@pytest.mark.parametrize("size", [(1, 1), (1, 40), (300, 5), (64, 64), (224, 160), (500, 700)])
def test_all_give_rgb_of_the_same_size_and_the_same_again(kind: Any, size: tuple[int, int]) -> None:
    before = scenery(*size)
    once, twice = (kind.apply(before, generator(1, kind.name)) for _ in range(2))
    assert once.mode == "RGB"
    assert once.size == size or kind.name == "crop"
    assert once.tobytes() == twice.tobytes()
    assert before.tobytes() == scenery(*size).tobytes()


@pytest.mark.parametrize("kind", of_modality(GATE_SHIFTS, "image"), ids=lambda kind: kind.name)
@pytest.mark.parametrize("side", [64, 224, 900])
def test_every_kind_can_be_seen_and_leaves_the_picture_recognisable(kind: Any, side: int) -> None:
    before = scenery(side, side)
    small = [
        pixels(picture.resize((64, 64), Image.Resampling.BOX)) for picture in (before, kind.apply(before, generator(3)))
    ]
    assert np.abs(small[0] - small[1]).mean() > 0.4
    assert np.corrcoef(small[0].ravel(), small[1].ravel())[0, 1] > 0.6


def test_jpeg_loses_detail_and_more_at_lower_quality() -> None:
    grainy = image.noise(scenery(), generator(0), 10.0)
    errors = [np.abs(pixels(image.jpeg(grainy, generator(0), quality)) - pixels(grainy)).mean() for quality in (90, 20)]
    assert 0 < errors[0] < errors[1]
    # A picture that was at this quality before hardly changes: it is the JPEG of this quality, not another loss.
    again = image.jpeg(shifted("jpeg_20", grainy), generator(0), 20)
    assert np.abs(pixels(again) - pixels(shifted("jpeg_20", grainy))).mean() < errors[1] / 4


@pytest.mark.parametrize("side", [100, 224, 800])
def test_blur_is_one_percent_of_the_short_side(side: int) -> None:
    edge = np.zeros((side, 2 * side, 3), np.uint8)
    edge[:, side:] = 255
    profile = pixels(shifted("blur", Image.fromarray(edge)))[side // 2, :, 0] / 255
    slope = np.diff(profile)
    centre = (slope * np.arange(len(slope))).sum()
    width = np.sqrt((slope * np.square(np.arange(len(slope)) - centre)).sum())
    assert width == pytest.approx(0.01 * side, rel=0.25)


@pytest.mark.parametrize(("name", "stops"), [("dark", -2.5), ("bright", 1.5)])
def test_exposure_multiplies_the_light(name: str, stops: float) -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
    output = pixels(shifted(name, Image.fromarray(levels)))[..., 0].ravel() / 255
    light_before, light_after = (
        np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
        for encoded in (np.arange(256) / 255, output)
    )
    assert np.allclose(light_after, np.minimum(light_before * 2**stops, 1), atol=0.006)
    assert (np.diff(output) >= 0).all()


@pytest.mark.parametrize("size", [(64, 64), (224, 224), (448, 640), (1000, 800)])
def test_noise_has_its_strength_once_the_picture_is_resized(size: tuple[int, int]) -> None:
    grey = Image.new("RGB", size, (128, 128, 128))
    output = shifted("noise", grey)
    assert pixels(output).std() == pytest.approx(25, rel=0.05)
    assert pixels(output).mean() == pytest.approx(128, abs=1)
    if min(size) > 224:
        short = output.resize((224, 224), Image.Resampling.BOX)
        assert pixels(short).std() > 14  # noise of single pixels would be averaged away


@pytest.mark.parametrize("size", [(64, 64), (224, 224), (700, 300), (60, 900)])
def test_occlusion_covers_15_percent_wherever(size: tuple[int, int]) -> None:
    white, corners = Image.new("RGB", size, "white"), set()
    for seed in range(20):
        covered = pixels(shifted("occlusion", white, seed))[..., 0] == 128
        assert covered.mean() == pytest.approx(0.15, abs=0.01)
        rows, columns = np.flatnonzero(covered.any(axis=1)), np.flatnonzero(covered.any(axis=0))
        assert covered[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
        corners.add((int(rows[0]), int(columns[0])))
    assert len(corners) > 15


@pytest.mark.parametrize("side", [64, 224, 600])
def test_moire_beats_in_waves_that_differ_between_the_channels(side: int) -> None:
    grey = Image.new("RGB", (side, side), (128, 128, 128))
    output = shifted("moire", grey)
    assert pixels(output).mean() == pytest.approx(128, abs=3)
    coarse = pixels(output.resize((16, 16), Image.Resampling.BOX))
    waves = [coarse[..., channel] - coarse[..., channel].mean() for channel in range(3)]
    assert all(4 < wave.std() < 30 for wave in waves)
    assert abs(np.corrcoef(waves[0].ravel(), waves[2].ravel())[0, 1]) < 0.8


@pytest.mark.parametrize("size", [(224, 224), (400, 200)])
def test_rotation_moves_a_corner_by_ten_degrees_about_the_centre(size: tuple[int, int]) -> None:
    centre = np.asarray(size) / 2
    spot = centre + np.asarray([0.3 * min(size), 0.0])
    picture = Image.new("RGB", size, "black")
    ImageDraw.Draw(picture).ellipse((*(spot - 3), *(spot + 3)), fill="white")
    turns = set()
    for seed in range(8):
        light = pixels(shifted("rotation_10", picture, seed))[..., 0]
        down, across = (np.average(grid, weights=light) for grid in np.indices(light.shape))
        angle = np.degrees(np.arctan2(down - centre[1], across - centre[0]))
        assert abs(angle) == pytest.approx(10, abs=0.6)
        turns.add(angle > 0)
    assert turns == {True, False}


def test_rotation_fills_corners_with_the_picture() -> None:
    assert pixels(shifted("rotation_10", Image.new("RGB", (200, 100), (90, 120, 30)))).std(axis=(0, 1)).max() == 0


def test_crop_cuts_a_window_out() -> None:
    numbered = np.arange(200 * 100, dtype=np.int64).reshape(100, 200)
    coded = np.stack([numbered // 256, numbered % 256, 0 * numbered], axis=2).astype(np.uint8)
    shares = []
    for seed in range(40):
        output = np.asarray(random_crop(Image.fromarray(coded), seed)).astype(np.int64)
        codes = output[..., 0] * 256 + output[..., 1]
        assert (np.diff(codes, axis=1) == 1).all()
        assert (np.diff(codes, axis=0) == 200).all()
        shares.append(codes.shape[1] / 200)
        assert codes.shape[0] / 100 == pytest.approx(shares[-1], abs=0.01)
    assert min(shares) < 0.75
    assert max(shares) > 0.95


def random_crop(picture: Image.Image, seed: int) -> Image.Image:
    (crop,) = (kind for kind in AUGMENTATIONS if kind.name == "crop")
    return crop.apply(picture, generator(seed))  # type: ignore[no-any-return]
