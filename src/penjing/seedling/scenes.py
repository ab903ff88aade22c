"""Scenes: one to four coloured shapes on a plain background. Everything about a scene is known exactly.

A scene follows from its seed alone, on every machine: choices are made by `random.Random.random()`, the one stream that
Python promises never to change, and noise by NumPy's PCG64.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from penjing.data.pictures import OUTLINES, Colour, pick

SIDE_PIXELS = 64
SUPERSAMPLING = 4
MOST_ITEMS = 4

SHAPES = ("circle", "square", "triangle", "star", "diamond", "cross", "ring", "heart")
COLOURS: dict[str, Colour] = {
    "red": (214, 40, 40),
    "orange": (245, 133, 24),
    "yellow": (250, 224, 60),
    "green": (46, 160, 67),
    "blue": (38, 84, 214),
    "purple": (140, 60, 190),
    "black": (16, 16, 18),
    "white": (250, 250, 250),
}
BACKGROUNDS: dict[str, Colour] = {"grey": (150, 150, 154), "beige": (222, 190, 160), "pink": (238, 164, 190)}
RADII_PIXELS = {"small": 5.5, "medium": 9.0, "large": 13.5}
"""Radius of the circle around a shape; sizes differ by half, so that no noise turns one into another."""

LEAST_APART = 0.8
"""Centres are at least this share of both radii apart: neighbours may overlap a little, none is hidden."""
MOST_NOISE = 10.0
"""Largest standard deviation of the noise, of 255."""
PLACING_TRIES = 60


@dataclass(frozen=True, slots=True)
class Item:
    """One shape. `x` and `y` are its centre in pixels, y downwards."""

    size: str
    colour: str
    shape: str
    x: float
    y: float

    @property
    def radius(self) -> float:
        """Radius of the circle around it, in pixels."""
        return RADII_PIXELS[self.size]


@dataclass(frozen=True, slots=True)
class Scene:
    """What a picture shows: items, the later ones in front, and the name of the background."""

    items: tuple[Item, ...]
    background: str
    seed: int


def imagine(seed: int) -> Scene:
    """Make up the scene of a seed.

    Half of the items after the first take over the colour, the shape or both of an earlier one, or there would hardly
    ever be two of a kind to count or to tell apart.
    """
    dice = random.Random(seed)
    background = pick(dice, tuple(BACKGROUNDS))
    items: list[Item] = []
    for _ in range(1 + int(dice.random() * MOST_ITEMS)):
        colour, shape = pick(dice, tuple(COLOURS)), pick(dice, SHAPES)
        if items and dice.random() < 0.5:
            earlier, what = pick(dice, items), dice.random()
            colour = earlier.colour if what < 0.6 else colour
            shape = earlier.shape if what > 0.3 else shape
        placed = _place(pick(dice, tuple(RADII_PIXELS)), colour, shape, items, dice)
        if placed:
            items.append(placed)
    return Scene(tuple(items), background, seed)


def _place(size: str, colour: str, shape: str, others: list[Item], dice: random.Random) -> Item | None:
    """Find room for an item; None where there is none left. The first always has room."""
    radius = RADII_PIXELS[size]
    for _ in range(PLACING_TRIES):
        x, y = (radius + 1 + dice.random() * (SIDE_PIXELS - 2 * radius - 2) for _ in range(2))
        item = Item(size, colour, shape, round(x, 2), round(y, 2))
        if all(math.dist((x, y), (o.x, o.y)) >= LEAST_APART * (radius + o.radius) for o in others):
            return item
    return None


def draw(scene: Scene) -> Image.Image:
    """Draw a scene: an RGB image of 64 × 64, antialiased, each item a little tilted and shaded, noise over all."""
    dice = random.Random(scene.seed + 1)
    side = SIDE_PIXELS * SUPERSAMPLING
    canvas = Image.new("RGB", (side, side), _shaded(BACKGROUNDS[scene.background], dice))
    pen = ImageDraw.Draw(canvas)
    for item in scene.items:
        _paint(pen, item, dice)
    clean = np.asarray(canvas.reduce(SUPERSAMPLING), np.float64)
    noise = np.random.Generator(np.random.PCG64(scene.seed)).standard_normal(clean.shape)
    return Image.fromarray(np.clip(clean + MOST_NOISE * dice.random() * noise, 0, 255).round().astype(np.uint8))


def _paint(pen: ImageDraw.ImageDraw, item: Item, dice: random.Random) -> None:
    x, y, radius = (SUPERSAMPLING * value for value in (item.x, item.y, item.radius))
    fill, angle = _shaded(COLOURS[item.colour], dice), 0.16 * (2 * dice.random() - 1)
    box = (x - radius, y - radius, x + radius, y + radius)
    if item.shape == "circle":
        pen.ellipse(box, fill=fill)
    elif item.shape == "ring":
        pen.ellipse(box, outline=fill, width=round(0.34 * radius))
    else:
        sine, cosine = math.sin(angle), math.cos(angle)
        outline = OUTLINES[item.shape]
        pen.polygon(
            [(x + radius * (u * cosine - v * sine), y + radius * (u * sine + v * cosine)) for u, v in outline],
            fill=fill,
        )


def _shaded(colour: Colour, dice: random.Random) -> Colour:
    """A colour moved by at most 8 of 255 per channel."""
    red, green, blue = (min(255, max(0, value + int(17 * dice.random()) - 8)) for value in colour)
    return red, green, blue


def scenes(first_seed: int) -> Iterator[tuple[Scene, Image.Image]]:
    """Scenes and their pictures, without end, from a seed on."""
    seed = first_seed
    while True:
        scene = imagine(seed)
        yield scene, draw(scene)
        seed += 1
