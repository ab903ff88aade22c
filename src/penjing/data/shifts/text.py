"""Distortions of text: `(text, rng, strength) -> text`. What a script does not have (case, keys) stays as it is."""

from __future__ import annotations

import unicodedata

import numpy as np

KEYBOARDS = (
    ("qwertyuiop", "asdfghjkl", "zxcvbnm"),
    ("йцукенгшщзхъ", "фывапролджэ", "ячсмитьбю"),
)
"""Rows of keys, each half a key to the right of the one above: Latin and Cyrillic."""


def _neighbours() -> dict[str, str]:
    """key -> the keys beside it: two half keys away in its own row, or one in the row above or below."""
    beside = {}
    for rows in KEYBOARDS:
        spots = {key: (2 * index + row, row) for row, keys in enumerate(rows) for index, key in enumerate(keys)}
        for key, (across, down) in spots.items():
            near = [name for name, (x, y) in spots.items() if (abs(x - across), abs(y - down)) in ((2, 0), (1, 1))]
            beside[key] = "".join(near)
    return beside


NEIGHBOURS = _neighbours()


def upper_case(text: str, rng: np.random.Generator) -> str:
    """All capitals."""
    return text.upper()


def random_case(text: str, rng: np.random.Generator) -> str:
    """All capitals, all small letters, or a capital at the start of every word."""
    return (text.upper(), text.lower(), text.title())[rng.integers(3)]


def no_punctuation(text: str, rng: np.random.Generator) -> str:
    """Remove punctuation (Unicode category P), as in a raw transcript.

    Apostrophes inside words and points inside numbers stay; other signs between letters become a space, except in
    scripts that are written without spaces.
    """
    characters = [""]
    for index, character in enumerate(text):
        before, after = text[index - 1 : index], text[index + 1 : index + 2]
        is_inside = bool(before) and before.isalnum() and after.isalnum()
        is_sign = unicodedata.category(character).startswith("P")
        is_part = is_inside and (character in "'’" or (before + after).isdigit())
        if is_part or not is_sign:
            characters.append(character)
        elif is_inside and unicodedata.east_asian_width(character) not in "WF":
            characters.append(" ")
    return " ".join("".join(characters).split())


def typos(text: str, rng: np.random.Generator, share: float) -> str:
    """Mistype `share` of the letters, one at least: swapped with the next, left out, doubled, or a neighbouring key.

    A letter is one with its marks (accents, vowel signs), so that no mark is left without its letter. Neighbouring keys
    are known for Latin and Cyrillic keyboards. The only letter of a word is never left out.
    """
    clusters = _clusters(text)
    letters = [index for index, cluster in enumerate(clusters) if cluster[0].isalpha()]
    if not letters:
        return text
    is_letter = [cluster[0].isalpha() for cluster in clusters]
    count = max(1, round(share * len(letters)))
    last = -1
    for index in sorted(rng.permutation(letters)[:count].tolist()):
        if index <= last:
            continue  # this one has been moved already
        follows = index + 1 < len(clusters) and is_letter[index + 1]
        precedes = index > 0 and is_letter[index - 1]
        last = index + _mistype(clusters, index, (precedes, follows), rng)
    return "".join(clusters)


def _mistype(clusters: list[str], index: int, sides: tuple[bool, bool], rng: np.random.Generator) -> int:
    """Mistype a letter in place; whether the next one was changed, too."""
    letter = clusters[index]
    precedes, follows = sides
    ways = ["double"]
    if follows and clusters[index + 1] != letter:
        ways.append("swap")
    if precedes and follows:
        ways.append("drop")
    if letter.lower() in NEIGHBOURS:
        ways.append("neighbour")
    way = ways[rng.integers(len(ways))]
    if way == "swap":
        clusters[index], clusters[index + 1] = clusters[index + 1], letter
        return 1
    if way == "neighbour":
        near = NEIGHBOURS[letter.lower()]
        key = near[rng.integers(len(near))]
        clusters[index] = key.upper() if letter.isupper() else key
    else:
        clusters[index] = "" if way == "drop" else letter + letter
    return 0


def truncated(text: str, rng: np.random.Generator, share: float) -> str:
    """The beginning: `share` of the words, one at least; of the letters where there is a single word."""
    words = text.split()
    if len(words) > 1:
        return " ".join(words[: max(1, round(share * len(words)))])
    clusters = _clusters(text.strip())
    return "".join(clusters[: max(1, round(share * len(clusters)))])


def _clusters(text: str) -> list[str]:
    """Characters, each with the marks and joiners that follow it."""
    clusters: list[str] = []
    for character in text:
        joins = unicodedata.category(character).startswith("M") or character in "\u200c\u200d"
        if clusters and joins:
            clusters[-1] += character
        else:
            clusters.append(character)
    return clusters
