"""Scenes: one to four coloured shapes on a plain background. Everything about a scene is known exactly.

A scene follows from its seed alone, on every machine: choices are made by `random.Random.random()`, the one stream that
Python promises never to change, and noise by NumPy's PCG64.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace

import numpy as np
from PIL import Image, ImageDraw

from penjing.bounded_json import parse_json
from penjing.data import pictures
from penjing.data.pictures import SIDE_PIXELS, SUPERSAMPLING, Colour, draw_shape, pick, shaded
from penjing.errors import DataError
from penjing.typed_json import choice, fields, listed, number, whole

MOST_ITEMS = 4

SHAPES = ("circle", "square", "triangle", "star", "diamond", "cross", "ring", "heart")
COLOURS = {
    name: pictures.COLOURS[name] for name in ("red", "orange", "yellow", "green", "blue", "purple", "black", "white")
}
BACKGROUNDS: dict[str, Colour] = {"grey": (150, 150, 154), "beige": (222, 190, 160), "pink": (238, 164, 190)}
"""Plain, and at least 100 in RGB from every colour; a test holds them to it."""
RADII_PIXELS = {"small": 5.5, "medium": 9.0, "large": 13.5}
"""Radius of the circle around a shape; sizes differ by half, so that no noise turns one into another."""

LEAST_APART = 0.8
"""Centres are at least this share of both radii apart: neighbours may overlap a little, none is hidden."""
MOST_NOISE = 10.0
"""Largest standard deviation of the noise, of 255."""
PLACING_TRIES = 60
SHIFTING_TRIES = 10


ITEM = {
    "size": choice(*RADII_PIXELS),
    "colour": choice(*COLOURS),
    "shape": choice(*SHAPES),
    "x": number(0, SIDE_PIXELS),
    "y": number(0, SIDE_PIXELS),
}
SCENE = fields({"items": listed(fields(ITEM), 0, 100), "background": choice(*BACKGROUNDS), "seed": whole(0, 2**63)})
"""What `Scene.as_json` writes."""


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

    def as_json(self) -> str:
        """Everything that is known of the scene, as one line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Scene:
        """Read what `as_json` wrote; it may come from a row of anybody's data.

        Raises:
            DataError: the text is no scene.
        """
        try:
            document = parse_json(text)
            SCENE(document, "scene")
        except ValueError as error:
            raise DataError(f"a `scene` that is none: it {error}", hint="leave the column out") from error
        items = tuple(Item(**{name: item[name] for name in ITEM}) for item in document["items"])
        return cls(items, document["background"], document["seed"])


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
        if _fits(item, others):
            return item
    return None


def shifted(scene: Scene, seed: int, farthest_pixels: float = 8.0) -> Scene:
    """The same items, each moved a little, drawn with other tilts, shades and noise; where nothing fits, none moves."""
    dice = random.Random(seed)
    for _ in range(SHIFTING_TRIES):
        items: list[Item] = []
        for item in scene.items:
            x, y = (round(at + (2 * dice.random() - 1) * farthest_pixels, 2) for at in (item.x, item.y))
            moved = replace(item, x=x, y=y)
            if _fits(moved, items):
                items.append(moved)
        if len(items) == len(scene.items):
            return Scene(tuple(items), scene.background, seed)
    return replace(scene, seed=seed)


def _fits(item: Item, others: list[Item]) -> bool:
    """Whether an item lies within the picture and hides none of the others."""
    inside = all(item.radius + 1 <= at <= SIDE_PIXELS - item.radius - 1 for at in (item.x, item.y))
    return inside and all(
        math.dist((item.x, item.y), (other.x, other.y)) >= LEAST_APART * (item.radius + other.radius)
        for other in others
    )


def draw(scene: Scene) -> Image.Image:
    """Draw a scene: an RGB image of 64 × 64, antialiased, each item a little tilted and shaded, noise over all."""
    dice = random.Random(scene.seed + 1)
    side = SIDE_PIXELS * SUPERSAMPLING
    canvas = Image.new("RGB", (side, side), shaded(BACKGROUNDS[scene.background], dice))
    pen = ImageDraw.Draw(canvas)
    for item in scene.items:
        place = (SUPERSAMPLING * item.x, SUPERSAMPLING * item.y)
        draw_shape(pen, item.shape, shaded(COLOURS[item.colour], dice), place, SUPERSAMPLING * item.radius, dice)
    clean = np.asarray(canvas.reduce(SUPERSAMPLING), np.float64)
    noise = np.random.Generator(np.random.PCG64(scene.seed)).standard_normal(clean.shape)
    return Image.fromarray(np.clip(clean + MOST_NOISE * dice.random() * noise, 0, 255).round().astype(np.uint8))


def scenes(first_seed: int) -> Iterator[tuple[Scene, Image.Image]]:
    """Scenes and their pictures, without end, from a seed on."""
    seed = first_seed
    while True:
        scene = imagine(seed)
        yield scene, draw(scene)
        seed += 1
