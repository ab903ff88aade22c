"""What is true between the items of a scene, with a margin: what a person might dispute is neither true nor false."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from penjing.data.pictures import SIDE_PIXELS
from penjing.scenes.scene import Item

MARGIN_PIXELS = 8.0
"""Centres this far apart along an axis are clearly left, right, above or below."""

RELATIONS = ("left of", "right of", "above", "below")
ROWS, COLUMNS = ("top", "middle", "bottom"), ("left", "middle", "right")


def holds(first: Item, relation: str, second: Item) -> bool | None:
    """Whether `first` is `relation` `second`; None where the margin leaves it open."""
    ahead = {
        "left of": second.x - first.x,
        "right of": first.x - second.x,
        "above": second.y - first.y,
        "below": first.y - second.y,
    }[relation]
    return True if ahead >= MARGIN_PIXELS else None if ahead > -MARGIN_PIXELS else False


def thirds(item: Item) -> tuple[str, str]:
    """The row and the column of the nine squares that an item's centre lies in."""
    row, column = (min(2, max(0, int(3 * place // SIDE_PIXELS))) for place in (item.y, item.x))
    return ROWS[row], COLUMNS[column]


def place_of(item: Item) -> str | None:
    """The ninth of the picture that an item lies in, `top left` to `bottom right`; None where it lies on a border."""
    third, slack = SIDE_PIXELS / 3, MARGIN_PIXELS / 4
    for border in (third, 2 * third):
        if abs(item.x - border) < slack or abs(item.y - border) < slack:
            return None
    row, column = thirds(item)
    return "middle" if row == column == "middle" else f"{row} {column}"


def alike(
    items: Sequence[Item], colour: str | None = None, shape: str | None = None, size: str | None = None
) -> list[Item]:
    """The items of this colour, shape and size, as far as they are given."""
    return [
        item
        for item in items
        if colour in (None, item.colour) and shape in (None, item.shape) and size in (None, item.size)
    ]


def kind(item: Item) -> tuple[str, str]:
    """Colour and shape: what a sentence calls an item by."""
    return item.colour, item.shape


def single(items: Sequence[Item], key: Callable[[Item], object] = kind) -> list[Item]:
    """The items that share their key with no other."""
    counts = Counter(key(item) for item in items)
    return [item for item in items if counts[key(item)] == 1]
