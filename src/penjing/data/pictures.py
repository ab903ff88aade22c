"""The built-in set `pictures`: small drawings of coloured shapes and the sentence that describes each of them.

Drawn in memory from a seed, so nothing is shipped or downloaded. Two scenes are the same when they mean the same
(`a red star left of a blue ring` is `a blue ring right of a red star`), whatever the words; rows never share a scene.
"""

from __future__ import annotations

import io
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from PIL import Image, ImageDraw

from penjing.data.row import DataSet, Row

SIDE_PIXELS = 64
SUPERSAMPLING = 4
CANVAS_PIXELS = SIDE_PIXELS * SUPERSAMPLING

Colour = tuple[int, int, int]
Choice = TypeVar("Choice")

COLOURS: dict[str, Colour] = {
    "red": (214, 40, 40),
    "orange": (245, 133, 24),
    "yellow": (250, 214, 50),
    "green": (46, 160, 67),
    "blue": (38, 84, 214),
    "purple": (128, 50, 176),
    "pink": (246, 140, 188),
    "brown": (122, 74, 38),
    "black": (20, 20, 22),
    "white": (250, 250, 250),
}
BACKGROUNDS: dict[str, Colour] = {
    "grey": (150, 150, 154),
    "beige": (226, 208, 172),
    "teal": (40, 128, 128),
    "navy": (24, 32, 78),
    "lime": (176, 226, 112),
}
SHAPES = ("circle", "square", "triangle", "star", "diamond", "cross", "ring", "hexagon", "heart", "arrow")
HOLDERS = ("circle", "square", "hexagon", "heart")
"""Shapes with room for something inside."""
RADII = {"small": 0.12, "large": 0.22}
"""Radius of the circle around a shape, as a share of the picture's side."""
NUMBERS = {2: "two", 3: "three", 4: "four"}
MIRRORED = {"right of": "left of", "below": "above"}
RELATIONS = ("left of", "right of", "above", "below", "inside")

PARTS = {"judge": 200, "select": 60, "calibrate": 60}
FIRST_SEED = 1_000_000_000
"""Seeds from here on belong to the built-in rows; training draws below it and also leaves their scenes out."""


@dataclass(frozen=True, slots=True)
class Thing:
    """One shape of a scene."""

    size: str
    colour: str
    shape: str

    def __str__(self) -> str:
        return f"{self.size} {self.colour} {self.shape}"


@dataclass(frozen=True, slots=True)
class Scene:
    """What a picture shows. One thing, a count of the same thing, or two things in a relation."""

    things: tuple[Thing, ...]
    relation: str
    background: str

    @property
    def caption(self) -> str:
        """The sentence that describes the scene."""
        first = self.things[0]
        if self.relation in RELATIONS:
            what = f"a {first} {self.relation} a {self.things[1]}"
        elif len(self.things) > 1:
            what = f"{NUMBERS[len(self.things)]} {plural(str(first))}"
        else:
            what = f"a {first}"
        return f"{what} on a {self.background} background"

    @property
    def meaning(self) -> tuple[object, ...]:
        """Equal for two scenes that no picture can tell apart."""
        if self.relation in MIRRORED:
            return (self.things[::-1], MIRRORED[self.relation], self.background)
        return (self.things, self.relation, self.background)


def plural(what: str) -> str:
    """Several of a shape: `crosses`, `small red stars`."""
    return f"{what}es" if what.endswith("cross") else f"{what}s"


def pick(dice: random.Random, options: Sequence[Choice]) -> Choice:
    """Pick one option, from `random()` alone: the only stream that Python promises never to change."""
    return options[int(dice.random() * len(options))]


def visible(*on: Colour) -> tuple[str, ...]:
    """Names of the colours that stand out from all of these: a distance of at least 100 in RGB."""
    return tuple(name for name, colour in COLOURS.items() if all(math.dist(colour, base) >= 100 for base in on))


def imagine(seed: int) -> Scene:
    """Make up a scene: 1 in 10 shows one thing, 2 in 10 a count of things, 7 in 10 two things in a relation."""
    dice = random.Random(seed)
    background = pick(dice, tuple(BACKGROUNDS))
    colours = visible(BACKGROUNDS[background])
    first = Thing(pick(dice, tuple(RADII)), pick(dice, colours), pick(dice, SHAPES))
    kind = dice.random()
    if kind < 0.1:
        return Scene((first,), "", background)
    if kind < 0.3:
        count = pick(dice, tuple(NUMBERS))
        return Scene((replace(first, size="small"),) * count, "", background)
    relation = pick(dice, RELATIONS)
    if relation == "inside":
        around = pick(dice, visible(BACKGROUNDS[background], COLOURS[first.colour]))
        holder = Thing("large", around, pick(dice, HOLDERS))
        return Scene((replace(first, size="small"), holder), relation, background)
    second = Thing(pick(dice, tuple(RADII)), pick(dice, colours), pick(dice, SHAPES))
    if second == first:
        second = replace(first, colour=pick(dice, tuple(colour for colour in colours if colour != first.colour)))
    return Scene((first, second), relation, background)


def polygon(corners: int, inner: float = 1.0, turn: float = 0.0) -> list[tuple[float, float]]:
    """Corners of a regular polygon in the unit circle, first corner up; `inner` < 1 pulls in every second one."""
    return [
        ((inner if index % 2 else 1.0) * math.sin(angle), -(inner if index % 2 else 1.0) * math.cos(angle))
        for index, angle in enumerate(turn + 2 * math.pi * index / corners for index in range(corners))
    ]


def heart() -> list[tuple[float, float]]:
    """Outline of a heart in the unit circle."""
    steps = [2 * math.pi * index / 40 for index in range(40)]
    return [
        (math.sin(t) ** 3, -(13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)) / 16)
        for t in steps
    ]


THIRD = 0.34
OUTLINES: dict[str, list[tuple[float, float]]] = {
    "square": polygon(4, turn=math.pi / 4),
    "triangle": polygon(3),
    "star": polygon(10, inner=0.42),
    "diamond": [(0, -1), (0.6, 0), (0, 1), (-0.6, 0)],
    "hexagon": polygon(6),
    "heart": heart(),
    "cross": [
        *[(-THIRD, -1), (THIRD, -1), (THIRD, -THIRD), (1, -THIRD), (1, THIRD), (THIRD, THIRD)],
        *[(THIRD, 1), (-THIRD, 1), (-THIRD, THIRD), (-1, THIRD), (-1, -THIRD), (-THIRD, -THIRD)],
    ],
    "arrow": [(-1, -0.3), (0.1, -0.3), (0.1, -0.8), (1, 0), (0.1, 0.8), (0.1, 0.3), (-1, 0.3)],
}
"""Outlines in the unit circle, x to the right and y down. Circles and rings are drawn as ellipses."""


def places(scene: Scene, dice: random.Random) -> list[tuple[float, float]]:
    """Centres of a scene's things as shares of the side, each moved a little. One (x, y) per thing."""

    def near(x: float, y: float, slack: float = 0.04) -> tuple[float, float]:
        return (x + slack * (2 * dice.random() - 1), y + slack * (2 * dice.random() - 1))

    if scene.relation in ("left of", "right of", "above", "below"):
        low, high, across = 0.26, 0.74, 0.5 + 0.1 * (2 * dice.random() - 1)
        first, second = (low, high) if scene.relation in ("left of", "above") else (high, low)
        if scene.relation in ("left of", "right of"):
            return [near(first, across), near(second, across)]
        return [near(across, first), near(across, second)]
    if scene.relation == "inside":
        centre = near(0.5, 0.5, 0.14)
        return [centre, centre]
    if len(scene.things) == 1:
        return [near(0.5, 0.5, 0.18)]
    corners = [(0.27, 0.27), (0.73, 0.73), (0.73, 0.27), (0.27, 0.73)]
    turned = corners if dice.random() < 0.5 else [(1 - x, y) for x, y in corners]
    return [near(x, y, 0.05) for x, y in turned[: len(scene.things)]]


def paint(
    pen: ImageDraw.ImageDraw, thing: Thing, centre: tuple[float, float], radius: float, look: random.Random
) -> None:
    """Draw one thing. Centre and radius in shares of the side; `look` moves its colour and turns it a little."""
    place = (centre[0] * CANVAS_PIXELS, centre[1] * CANVAS_PIXELS)
    draw_shape(pen, thing.shape, shaded(COLOURS[thing.colour], look), place, radius * CANVAS_PIXELS, look)


def shaded(colour: Colour, look: random.Random) -> Colour:
    """A colour moved by at most 8 of 255 per channel."""
    red, green, blue = (min(255, max(0, value + int(17 * look.random()) - 8)) for value in colour)
    return red, green, blue


def draw_shape(
    pen: ImageDraw.ImageDraw,
    shape: str,
    fill: Colour,
    centre: tuple[float, float],
    radius: float,
    look: random.Random,
) -> None:
    """Draw a shape; centre and radius in pixels of the canvas, `look` tilts it by at most 0.16 radians."""
    x, y = centre
    box = (x - radius, y - radius, x + radius, y + radius)
    if shape == "circle":
        pen.ellipse(box, fill=fill)
    elif shape == "ring":
        pen.ellipse(box, outline=fill, width=round(0.34 * radius))
    else:
        angle = 0.16 * (2 * look.random() - 1)
        sine, cosine = math.sin(angle), math.cos(angle)
        corners = [
            (x + radius * (u * cosine - v * sine), y + radius * (u * sine + v * cosine)) for u, v in OUTLINES[shape]
        ]
        pen.polygon(corners, fill=fill)


def render(scene: Scene, seed: int) -> Image.Image:
    """Draw a scene as an RGB image of 64 x 64; the seed decides places, shades and tilts."""
    dice = random.Random(seed + 1)
    canvas = Image.new("RGB", (CANVAS_PIXELS, CANVAS_PIXELS), BACKGROUNDS[scene.background])
    pen = ImageDraw.Draw(canvas)
    centres = places(scene, dice)
    for index in reversed(range(len(scene.things))):
        thing = scene.things[index]
        radius = RADII[thing.size] * (0.92 + 0.16 * dice.random())
        if scene.relation == "inside" and index == 1:
            radius *= 1.6
        paint(pen, thing, centres[index], radius, dice)
    return canvas.reduce(SUPERSAMPLING)


def draw(seed: int) -> tuple[Image.Image, str]:
    """Draw the picture of a seed. Returns an RGB image of 64 x 64 and its caption; same seed, same pixels."""
    scene = imagine(seed)
    return render(scene, seed), scene.caption


def frozen() -> dict[int, Scene]:
    """Scenes of the built-in rows by their seed, in order; no two mean the same."""
    kept: dict[int, Scene] = {}
    met: set[tuple[object, ...]] = set()
    seed = FIRST_SEED
    while len(kept) < sum(PARTS.values()):
        scene = imagine(seed)
        if scene.meaning not in met:
            met.add(scene.meaning)
            kept[seed] = scene
        seed += 1
    return kept


def load_pictures() -> DataSet:
    """Draw the built-in rows: 200 to judge, 60 to select, 60 to calibrate. `file` holds the bytes of a PNG."""
    rows: list[Row] = []
    parts: dict[str, str] = {}
    names = [part for part, count in PARTS.items() for _ in range(count)]
    for index, (seed, scene) in enumerate(frozen().items()):
        encoded = io.BytesIO()
        render(scene, seed).save(encoded, format="PNG")
        row = Row(f"picture-{index:03d}", {"text": scene.caption}, "image", encoded.getvalue())
        rows.append(row)
        parts[row.id] = names[index]
    return DataSet("pictures", tuple(rows), parts)
