"""Sentences about scenes, and whether they are true: written and read by one grammar, nothing learned.

two red circles and a large blue star on a grey background, the star above a circle
"""

from __future__ import annotations

import itertools
import random
import re
from collections import Counter
from dataclasses import dataclass

from penjing.data.pictures import pick, plural
from penjing.scenes.relations import RELATIONS, alike, holds, kind, single
from penjing.scenes.scene import BACKGROUNDS, COLOURS, RADII_PIXELS, SHAPES, Item, Scene

NUMBERS = ("no", "one", "two", "three", "four")
PLURALS = {shape: plural(shape) for shape in SHAPES}
SINGULARS = {plural: shape for shape, plural in PLURALS.items()}

_SIZES, _COLOURS, _BACKGROUNDS, _RELATIONS = (
    "|".join(words) for words in (RADII_PIXELS, COLOURS, BACKGROUNDS, RELATIONS)
)
_SHAPES = "|".join([*SHAPES, *SINGULARS])
_GROUP = re.compile(rf"(a|an|two|three|four) (?:({_SIZES}) )?({_COLOURS}) ({_SHAPES})")
_TAIL = re.compile(rf"the ({_COLOURS}) ({_SHAPES}) ({_RELATIONS}) the ({_COLOURS}) ({_SHAPES})")
_WHOLE = re.compile(rf"(.+) on a ({_BACKGROUNDS}) background(?:, (.+))?")


@dataclass(frozen=True, slots=True)
class Group:
    """So many items of one colour and shape, and of one size where that is said."""

    count: int
    size: str | None
    colour: str
    shape: str


@dataclass(frozen=True, slots=True)
class Relation:
    """The one `first` (colour, shape) lies so to the one `second`."""

    first: tuple[str, str]
    relation: str
    second: tuple[str, str]


@dataclass(frozen=True, slots=True)
class Claims:
    """All that a sentence says."""

    groups: tuple[Group, ...]
    background: str
    relation: Relation | None


def caption(scene: Scene) -> str:
    """A sentence that is true of the scene and leaves no item out; which relation it names follows from the seed."""
    dice = random.Random(scene.seed + 2)
    groups = _groups(scene.items)
    listed = [_say(group) for group in groups]
    what = listed[0] if len(listed) == 1 else f"{', '.join(listed[:-1])} and {listed[-1]}"
    text = f"{what} on a {scene.background} background"
    found = relations(scene)
    if found:
        chosen = pick(dice, found)
        text += f", the {' '.join(chosen.first)} {chosen.relation} the {' '.join(chosen.second)}"
    return text


def relations(scene: Scene) -> list[Relation]:
    """What is clearly so between items that are the only ones of their colour and shape."""
    return [
        Relation(kind(one), relation, kind(other))
        for one, other in itertools.permutations(single(scene.items), 2)
        for relation in RELATIONS
        if holds(one, relation, other)
    ]


def _groups(items: tuple[Item, ...]) -> list[Group]:
    """Items of one colour and shape together, from left to right by the leftmost of each.

    An order that the picture shows: were it the order of drawing, nobody could tell which thing is named next.
    """
    found = []
    for colour, shape in dict.fromkeys(map(kind, sorted(items, key=lambda item: item.x))):
        same = alike(items, colour, shape)
        sizes = {item.size for item in same}
        found.append(Group(len(same), sizes.pop() if len(sizes) == 1 else None, colour, shape))
    return found


def _say(group: Group) -> str:
    look = f"{group.size} {group.colour}" if group.size else group.colour
    if group.count > 1:
        return f"{NUMBERS[group.count]} {look} {PLURALS[group.shape]}"
    return with_article(f"{look} {group.shape}")


def with_article(what: str) -> str:
    """`an orange star`, `a red star`."""
    return f"{'an' if what.startswith('orange') else 'a'} {what}"


def parse(text: str) -> Claims | None:
    """What a sentence of the grammar says; None for any other."""
    whole = _WHOLE.fullmatch(" ".join(text.lower().split()).rstrip("."))
    if not whole:
        return None
    groups = []
    for part in re.split(r", | and ", whole[1]):
        found = _GROUP.fullmatch(part)
        if not found or (found[1] in ("a", "an")) == (found[4] in SINGULARS):
            return None
        count = 1 if found[1] in ("a", "an") else NUMBERS.index(found[1])
        groups.append(Group(count, found[2], found[3], SINGULARS.get(found[4], found[4])))
    relation = None
    if whole[3]:
        tail = _TAIL.fullmatch(whole[3])
        if not tail:
            return None
        relation = Relation((tail[1], tail[2]), tail[3], (tail[4], tail[5]))
    return Claims(tuple(groups), whole[2], relation)


def false_claims(text: str, scene: Scene) -> list[str]:
    """What a sentence says that is not so, and items that it leaves out; empty where it is fully true."""
    claims = parse(text)
    if claims is None:
        return [f"not a sentence about a scene: {text!r}"]
    wrong = []
    if claims.background != scene.background:
        wrong.append(f"the background is {scene.background}")
    for group in claims.groups:
        found = alike(scene.items, group.colour, group.shape, group.size)
        if len(found) != group.count:
            wrong.append(f"{_say(group)}: there are {len(found)}")
    told = Counter[tuple[str, str]]()
    for group in claims.groups:
        told[group.colour, group.shape] += group.count
    there = Counter(map(kind, scene.items))
    wrong += [f"{colour} {shape} left out" for colour, shape in there - told]
    if claims.relation:
        wrong += _false_relation(claims.relation, scene)
    return wrong


def _false_relation(claim: Relation, scene: Scene) -> list[str]:
    firsts, seconds = (alike(scene.items, *kind) for kind in (claim.first, claim.second))
    if len(firsts) != 1 or len(seconds) != 1:
        return ["a relation between items that are not there once"]
    if not holds(firsts[0], claim.relation, seconds[0]):
        return [f"the {' '.join(claim.first)} is not {claim.relation} the {' '.join(claim.second)}"]
    return []
