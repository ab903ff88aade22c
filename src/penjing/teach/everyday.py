"""Everyday English without end: sentences with places for words, and words for the places."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from penjing.data.pictures import pick

GRAMMAR = Path(__file__).parents[1] / "data" / "builtin" / "everyday" / "grammar.yaml"
PLACE = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class Grammar:
    """`sentences` name their places in braces, `words` has what may stand there."""

    words: Mapping[str, tuple[str, ...]]
    sentences: tuple[str, ...]

    def imagine(self, seed: int) -> str:
        """One sentence; no word twice where there are others."""
        dice, used = random.Random(seed), set[str]()

        def word(place: re.Match[str]) -> str:
            choices = self.words[place[1]]
            found = pick(dice, [one for one in choices if one not in used] or choices)
            used.add(found)
            return found

        said = PLACE.sub(word, pick(dice, self.sentences))
        return re.sub(r"(^|\? )([a-z])", lambda start: start[1] + start[2].upper(), said)


def read_grammar() -> Grammar:
    """The grammar that penjing has."""
    content = yaml.safe_load(GRAMMAR.read_text(encoding="utf8"))
    words = {name: tuple(map(str, choices)) for name, choices in content["words"].items()}
    return Grammar(words, tuple(content["sentences"]))


def everyday() -> Iterator[str]:
    """Sentences in a fixed order, each once."""
    grammar, said, seed = read_grammar(), set[str](), 0
    while True:
        text = grammar.imagine(seed)
        seed += 1
        if text not in said:
            said.add(text)
            yield text
