"""Damage, chosen by a random generator with a seed: of JSON documents, of bytes, of lines of data."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

Step = str | int

POOL: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 3, 2**31, 2**63, 10**12, 10**30, 0.5, -0.0, 1e308, 5e-324),
    *(
        "",
        "x",
        "0",
        "é" * 50,
        "\u202e\0\n",
        "x" * 5000,
        "../../outside",
        "/etc/passwd",
        "C:\\x",
        "a" * 64,
        "{row!r:>999}",
    ),
    *(
        [],
        {},
        [[]],
        [{}],
        [None],
        [0] * 100,
        {"": None},
        {"a": {"b": []}},
        [1, "a", None],
        {"height": 0, "width": 10**9},
    ),
)
"""What a value may become: other types, borders of the right type, and paths."""


def places(document: Any, above: tuple[Step, ...] = ()) -> list[tuple[Step, ...]]:
    """The paths of all values in a document, its own () first."""
    found = [above]
    if isinstance(document, dict):
        for key, value in document.items():
            found += places(value, (*above, key))
    elif isinstance(document, list):
        for number, value in enumerate(document[:20]):
            found += places(value, (*above, number))
    return found


def value_at(document: Any, path: tuple[Step, ...]) -> Any:
    """The value at a path."""
    for step in path:
        document = document[step]
    return document


def mutated_json(document: Any, rng: random.Random) -> Any:
    """The document with one value replaced, removed, renamed, doubled, nested deep or exchanged with another."""
    whole = {"": copy.deepcopy(document)}
    path = ("", *rng.choice(places(document)))
    parent, last = value_at(whole, path[:-1]), path[-1]
    kind = rng.randrange(8)
    if kind == 0 and len(path) > 1:
        del parent[last]
    elif kind == 1 and isinstance(parent, dict) and len(path) > 1:
        parent[f"{last}_"] = parent.pop(last)
    elif kind == 2:
        parent[last] = [parent[last]] * rng.choice((1, 2, 1000))
    elif kind == 3:
        deep: Any = parent[last]
        for _ in range(rng.choice((3, 99, 300))):
            deep = [deep]
        parent[last] = deep
    elif kind == 4:
        parent[last] = copy.deepcopy(value_at(document, rng.choice(places(document))))
    else:
        parent[last] = copy.deepcopy(rng.choice(POOL))
    return whole[""]


def json_bytes(document: Any, rng: random.Random) -> bytes:
    """A damaged document as a file: mostly one mutated value, at times bytes that are no JSON any more."""
    content = json.dumps(document).encode()
    kind = rng.randrange(20)
    if kind == 0:
        return b"[" * 100_000
    if kind == 1:
        return b'{"a":' * 50_000 + b"1" + b"}" * 50_000
    if kind < 4:
        return mutated_bytes(content, rng)
    mutated = document
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        mutated = mutated_json(mutated, rng)
    return json.dumps(mutated, allow_nan=True).encode()


def mutated_bytes(content: bytes, rng: random.Random) -> bytes:
    """Bytes cut, flipped, overwritten, repeated or with others put in between."""
    kind, place = rng.randrange(6), rng.randrange(len(content) + 1)
    if kind == 0:
        return content[:place]
    if kind == 1:
        return content[:place] + rng.randbytes(rng.choice((1, 4, 100))) + content[place:]
    if kind == 2:
        return content[:place] + content[place + rng.choice((1, 4, 1000)) :]
    if kind == 3:
        return content[:place] + content[: rng.choice((10, 1000))] + content[place:]
    damaged = bytearray(content)
    for _ in range(rng.choice((1, 3, 20))):
        if damaged:
            damaged[rng.randrange(min(len(damaged), 200) if kind == 4 else len(damaged))] = rng.randrange(256)
    return bytes(damaged)
