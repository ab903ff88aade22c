"""What an image shows, read off its pixels by matching shapes: nothing learned, so it can judge what is learned.

Every pixel gets the colour it is nearest to. Then, colour by colour, the outline that explains the pixels best is taken
away, until nothing of the colour is left that could be an item. Pixels of other colours may hide a part of an item.
"""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from penjing.data.pictures import SIDE_PIXELS, SUPERSAMPLING, draw_shape
from penjing.scenes.captions import false_claims
from penjing.scenes.scene import BACKGROUNDS, COLOURS, RADII_PIXELS, SHAPES, Item, Scene

CANVAS = 2 * SIDE_PIXELS
"""Room around a picture, so that outlines do not wrap around its border when they are moved over it."""
TILTS = (0.13, 0.5, 0.87)
"""Positions of the dice within the range of tilts that `draw_shape` draws from."""
AROUND_PIXELS = 3
FEWEST_PIXELS = 14
LEAST_SEEN = 0.35
"""Share of an item that must be in view."""
LEAST_MATCH = 0.55
"""Pixels that an outline explains, of those that it covers or that lie around it."""
CLOSE = 0.2
"""Outlines that explain nearly as much as the best are compared by what they cover of each pixel."""
FRACTIONS = (-0.9, -0.6, -0.3, 0.0, 0.3, 0.6, 0.9)
MOST_BESIDE = 40.0
"""A pixel whose colour lies farther from the line between background and item, of 255, belongs to neither."""
WINDOW = 18
"""Half the side of the square in which an item is looked at."""
_MIDDLE = slice(SIDE_PIXELS - WINDOW, SIDE_PIXELS + WINDOW + 1)

Mask = NDArray[np.bool_]
Floats = NDArray[np.float64]


class _Fixed(random.Random):
    """Dice that always show the same."""

    def __init__(self, shown: float) -> None:
        super().__init__()
        self._shown = shown

    def random(self) -> float:
        """The number shown."""
        return self._shown


@dataclass(frozen=True, slots=True, eq=False)
class Outline:
    """A shape of a size, and the spectra of its inside and of what lies around it."""

    shape: str
    size: str
    tilt: float
    inside: Mask
    spectrum: NDArray[np.complex128]
    around: NDArray[np.complex128]

    @property
    def window(self) -> Mask:
        """The inside, cut out around its centre."""
        return self.inside[_MIDDLE, _MIDDLE]

    @property
    def near(self) -> Mask:
        """What lies inside or close by, cut out likewise."""
        return _grown(self.window, 1 + AROUND_PIXELS)


def verify(image: Image.Image, text: str) -> list[str]:
    """What a sentence says that the image does not show, and what it leaves out; empty where it is fully true."""
    return false_claims(text, look(image))


def look(image: Image.Image) -> Scene:
    """The items and the background of an image of any size, found without knowing how it was made."""
    pixels = np.asarray(image.convert("RGB").resize((SIDE_PIXELS, SIDE_PIXELS)), np.float64)
    names = [*COLOURS, *BACKGROUNDS]
    palette = np.array([*COLOURS.values(), *BACKGROUNDS.values()], np.float64)
    nearest = np.linalg.norm(pixels[:, :, None] - palette, axis=3).argmin(2)
    counts = np.bincount(nearest.ravel(), minlength=len(names))
    background = max(BACKGROUNDS, key=lambda name: counts[names.index(name)])
    empty = nearest == names.index(background)
    items: list[Item] = []
    for place, colour in enumerate(COLOURS):
        mask = nearest == place
        if mask.sum() >= FEWEST_PIXELS:
            items += _of_colour(mask, empty, _Cover(pixels, mask, empty), colour)
    return Scene(tuple(items), background, 0)


class _Cover:
    """How much of each pixel an item of one colour covers: its place on the line from background to colour."""

    def __init__(self, pixels: Floats, mask: Mask, empty: Mask) -> None:
        start, end = (np.median(pixels[part], 0) if part.any() else np.full(3, 128.0) for part in (empty, mask))
        along = (end - start) / max(float((end - start) @ (end - start)), 1.0)
        share = (pixels - start) @ along
        beside = np.linalg.norm(pixels - start - share[:, :, None] * (end - start), axis=2)
        pad = ((WINDOW, WINDOW), (WINDOW, WINDOW))
        self.share = np.pad(np.clip(share, 0, 1), pad)
        self.known = np.pad((mask | empty | (beside < MOST_BESIDE)).astype(np.float64), pad)

    def error(self, outline: Outline, row: int, column: int) -> float:
        """Least mean square difference from an outline near a place, over a few fractions of a pixel."""
        place = slice(row, row + 2 * WINDOW + 1), slice(column, column + 2 * WINDOW + 1)
        share, known = self.share[place], self.known[place] * outline.near
        off = ((coverages(outline.shape, outline.size, outline.tilt) - share) ** 2 * known).sum((1, 2))
        return float(off.min() / max(known.sum(), 1.0))

    def clear(self, outline: Outline, row: int, column: int) -> None:
        """Say of an item's pixels that nothing more is known of them."""
        self.known[row : row + 2 * WINDOW + 1, column : column + 2 * WINDOW + 1] *= ~_grown(outline.window, 1)


def _of_colour(mask: Mask, empty: Mask, cover: _Cover, colour: str) -> list[Item]:
    """Items of one colour: `mask` are its pixels, `empty` those of the background."""
    found: list[Item] = []
    while mask.sum() >= FEWEST_PIXELS:
        likely = _likely(mask, empty)
        if not likely:
            break
        outline, row, column = min(likely, key=lambda one: cover.error(*one))
        found.append(Item(outline.size, colour, outline.shape, float(column), float(row)))
        cover.clear(outline, row, column)
        covered = np.roll(outline.inside, (row - SIDE_PIXELS, column - SIDE_PIXELS), (0, 1))
        mask = mask & ~_grown(covered[:SIDE_PIXELS, :SIDE_PIXELS], 1)
    return found


def _likely(mask: Mask, empty: Mask) -> list[tuple[Outline, int, int]]:
    """The outlines that explain most, each with the row and column of its centre."""
    own, known = _spectrum(mask), _spectrum(mask | empty)
    found = []
    for outline in outlines():
        hits = _moved(own, outline.spectrum)
        match = hits / np.maximum(_moved(known, outline.spectrum) + _moved(own, outline.around), 1.0)
        match[hits < max(LEAST_SEEN * outline.inside.sum(), FEWEST_PIXELS)] = 0.0
        row, column = (int(place) for place in np.unravel_index(match.argmax(), match.shape))
        found.append((float(match[row, column]), (outline, row, column)))
    top = max(match for match, _ in found)
    return [place for match, place in found if match >= max(LEAST_MATCH, top - CLOSE)]


@cache
def outlines() -> tuple[Outline, ...]:
    """Every shape in every size, tilted three ways."""
    found = []
    for size, radius in RADII_PIXELS.items():
        for shape in SHAPES:
            for tilt in TILTS if shape not in ("circle", "ring") else TILTS[:1]:
                inside = _drawn(shape, radius, tilt, 0.0, 0.0) > 0.5
                around = _grown(inside, 1 + AROUND_PIXELS) & ~_grown(inside, 1)
                found.append(Outline(shape, size, tilt, inside, _spectrum(inside), _spectrum(around)))
    return tuple(found)


@cache
def coverages(shape: str, size: str, tilt: float) -> Floats:
    """What share of each pixel a shape covers, its centre at several fractions of a pixel: (places, side, side)."""
    places = itertools.product(FRACTIONS, FRACTIONS)
    return np.stack([_drawn(shape, RADII_PIXELS[size], tilt, *place)[_MIDDLE, _MIDDLE] for place in places])


def _drawn(shape: str, radius: float, tilt: float, right: float, down: float) -> Floats:
    """A shape in the middle of the canvas, moved by fractions of a pixel: the share of each pixel that it covers."""
    canvas = Image.new("L", (CANVAS * SUPERSAMPLING, CANVAS * SUPERSAMPLING))
    centre = (SUPERSAMPLING * (SIDE_PIXELS + 0.5 + right), SUPERSAMPLING * (SIDE_PIXELS + 0.5 + down))
    fill: tuple[int, int, int] = 255  # type: ignore[assignment]  # one channel
    draw_shape(ImageDraw.Draw(canvas), shape, fill, centre, SUPERSAMPLING * radius, _Fixed(tilt))
    return np.asarray(canvas.reduce(SUPERSAMPLING), np.float64) / 255


def _grown(mask: Mask, pixels: int) -> Mask:
    """A mask and what lies within so many pixels of it."""
    return np.asarray(Image.fromarray(mask).convert("L").filter(ImageFilter.MaxFilter(2 * pixels + 1))) > 127


def _spectrum(mask: Mask) -> NDArray[np.complex128]:
    return np.fft.rfft2(mask.astype(np.float64), (CANVAS, CANVAS))


def _moved(mask: NDArray[np.complex128], outline: NDArray[np.complex128]) -> Floats:
    """Pixels of a mask inside of an outline, for every row and column of its centre."""
    overlap = np.fft.irfft2(mask * outline.conj(), (CANVAS, CANVAS))
    return np.roll(overlap, (SIDE_PIXELS, SIDE_PIXELS), (0, 1))[:SIDE_PIXELS, :SIDE_PIXELS].round()
