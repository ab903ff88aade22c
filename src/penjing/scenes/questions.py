"""Questions about scenes, with the one right answer. What a person might dispute is not asked."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import dataclass

from penjing.data.pictures import pick
from penjing.scenes.captions import NUMBERS, PLURALS, with_article
from penjing.scenes.relations import RELATIONS, alike, holds, kind, place_of, single
from penjing.scenes.scene import COLOURS, RADII_PIXELS, SHAPES, Item, Scene

ORDER = tuple(RADII_PIXELS)
"""Sizes, smallest first."""


@dataclass(frozen=True, slots=True)
class Question:
    """A question, its kind, and its answer: one to three lower-case words."""

    kind: str
    text: str
    answer: str


def questions(scene: Scene, count: int, seed: int) -> list[Question]:
    """Up to `count` different questions about a scene, kinds in turn, from a seed."""
    dice = random.Random(seed)
    kinds = list(ASKERS)
    asked: dict[str, Question] = {}
    for turn in range(8 * count):
        if len(asked) == count:
            break
        about = kinds[turn % len(kinds)] if turn >= len(kinds) else pick(dice, kinds)
        found = ASKERS[about](scene, dice)
        if found:
            asked.setdefault(found[0], Question(about, *found))
    return list(asked.values())


REWORDED: tuple[tuple[str, str], ...] = (
    (r"^(how many .+) are there$", r"\1"),
    (r"^(how many .+) are there$", r"\1 do you see"),
    (r"^what colour", "what color"),
    (r"^what colour is", "which colour is"),
    (r"^what shape is", "which shape is"),
    (r"^where is", "where do you see"),
    (r"^is there (.+)$", r"do you see \1"),
    (r"^what is (.+)$", r"which thing is \1"),
    (r"^which is larger, (.+)$", r"what is larger, \1"),
)
"""Other ways of asking the same: a pattern and what it becomes."""


def reworded(text: str, dice: random.Random) -> str:
    """A question asked as another person might; one in two stays as it is."""
    ways = [(pattern, other) for pattern, other in REWORDED if re.search(pattern, text)]
    if not ways or dice.random() < 0.5:
        return text
    return re.sub(*pick(dice, ways), text)


Asked = tuple[str, str] | None
"""A question and its answer; None where the scene has nothing of the kind to ask about."""


def _count(scene: Scene, dice: random.Random) -> Asked:
    """How many of a shape, of a colour and shape, or of all there are; one in four is about something that may lack."""
    colour, shape = _mentioned(scene, dice)
    what = dice.random()
    if what < 0.2:
        return "how many things are there", NUMBERS[len(scene.items)]
    if what < 0.5:
        return f"how many {PLURALS[shape]} are there", NUMBERS[len(alike(scene.items, shape=shape))]
    return f"how many {colour} {PLURALS[shape]} are there", NUMBERS[len(alike(scene.items, colour, shape))]


def _colour(scene: Scene, dice: random.Random) -> Asked:
    item = _only(scene, lambda item: item.shape, dice)
    return (f"what colour is the {item.shape}", item.colour) if item else None


def _shape(scene: Scene, dice: random.Random) -> Asked:
    item = _only(scene, lambda item: item.colour, dice)
    return (f"what shape is the {item.colour} thing", item.shape) if item else None


def _position(scene: Scene, dice: random.Random) -> Asked:
    item = _only(scene, kind, dice)
    place = place_of(item) if item else None
    return (f"where is the {_name(item)}", place) if item and place else None


def _comparison(scene: Scene, dice: random.Random) -> Asked:
    """More of one shape or of another; or the larger of two."""
    if dice.random() < 0.5:
        pair = [pick(dice, SHAPES), pick(dice, scene.items).shape]
        one, other = pair if dice.random() < 0.5 else pair[::-1]
        more = len(alike(scene.items, shape=one)) - len(alike(scene.items, shape=other))
        if one == other or (more == 0 and dice.random() < 0.8):  # as many of both: seldom, or most answers were no
            return None
        return f"are there more {PLURALS[one]} than {PLURALS[other]}", "yes" if more > 0 else "no"
    first = _only(scene, kind, dice)
    second = _only(scene, kind, dice)
    if first is None or second is None or first.size == second.size:
        return None
    larger = max(first, second, key=lambda item: ORDER.index(item.size))
    names = [f"the {_name(item)}" for item in (first, second)]
    return f"which is larger, {names[0]} or {names[1]}", _name(larger)


def _existence(scene: Scene, dice: random.Random) -> Asked:
    colour, shape = _mentioned(scene, dice)
    return f"is there {with_article(f'{colour} {shape}')}", "yes" if alike(scene.items, colour, shape) else "no"


def _relation(scene: Scene, dice: random.Random) -> Asked:
    """What lies so to an item: asked where it is clearly one thing, and of all others it is clear that they do not."""
    found = []
    for item in single(scene.items):
        for relation in RELATIONS:
            verdicts = [(other, holds(other, relation, item)) for other in scene.items if other is not item]
            there = [other for other, verdict in verdicts if verdict]
            if len(there) == 1 and all(verdict is not None for _, verdict in verdicts):
                found.append((f"what is {relation} the {_name(item)}", _name(there[0])))
    return pick(dice, found) if found else None


ASKERS: dict[str, Callable[[Scene, random.Random], Asked]] = {
    "count": _count,
    "colour": _colour,
    "shape": _shape,
    "position": _position,
    "comparison": _comparison,
    "existence": _existence,
    "relation": _relation,
}


def _mentioned(scene: Scene, dice: random.Random) -> tuple[str, str]:
    """A colour and a shape: of one item, of two, or of none, so that the answer cannot be guessed from the question."""
    colour, shape = pick(dice, scene.items).colour, pick(dice, scene.items).shape
    if dice.random() < 0.25:
        colour = pick(dice, tuple(COLOURS))
    if dice.random() < 0.25:
        shape = pick(dice, SHAPES)
    return colour, shape


def _name(item: Item) -> str:
    return f"{item.colour} {item.shape}"


def _only(scene: Scene, key: Callable[[Item], object], dice: random.Random) -> Item | None:
    """One of the items that share their key with no other."""
    found = single(scene.items, key)
    return pick(dice, found) if found else None
