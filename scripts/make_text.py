"""Make the built-in data set `text` from Jane Austen's novels, which are in the public domain: make_text.py RDB OUT

RDB is `Rdata.rdb` of the Debian package r-cran-janeaustenr, whose texts are Project Gutenberg's. Four novels give the
rows to calibrate and select on, the two others those to judge by.
"""

from __future__ import annotations

import json
import random
import re
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

JUDGED = ("PRIDE AND PREJUDICE", "Persuasion")
PARTS = {"calibrate": 80, "select": 20, "judge": 60}
PASSAGE_CHARACTERS = 1800
LINE = re.compile(rb"\x00[\x00-\xff]\x00\x09(....)", re.S)
"""A string in R's serialization: flags, then its length."""


def books(path: Path) -> Iterator[list[str]]:
    """The lines of each book: chunks of (length, zlib) behind one another."""
    rest = path.read_bytes()
    while rest:
        inflate = zlib.decompressobj()
        content = inflate.decompress(rest[4:])
        rest = inflate.unused_data
        found = ((match.end(), int.from_bytes(match[1])) for match in LINE.finditer(content))
        yield [content[start : start + length].decode("latin1") for start, length in found if length < 200]


def passages(lines: list[str]) -> list[str]:
    """Whole paragraphs of prose, as many as make a passage, none twice."""
    paragraphs = [" ".join(part.split()) for part in "\n".join(lines).split("\n\n")]
    prose = [part for part in paragraphs if part.endswith((".", '"', "!", "?")) and not part.isupper()]
    found, passage = [], ""
    for paragraph in prose:
        passage = f"{passage}\n\n{paragraph}" if passage else paragraph
        if len(passage) >= PASSAGE_CHARACTERS:
            found.append(passage)
            passage = ""
    return [one for one in found if len(one) < 2 * PASSAGE_CHARACTERS]


def main() -> None:
    """Draw the rows with seed 0 and write them."""
    dice = random.Random(0)
    pools: dict[bool, list[tuple[str, int, str]]] = {True: [], False: []}
    for lines in books(Path(sys.argv[1])):
        title = lines[0]
        pools[title in JUDGED] += [(title.title(), place, text) for place, text in enumerate(passages(lines))]
    rows = []
    for part, count in PARTS.items():
        pool = pools[part == "judge"]
        for title, place, text in sorted(dice.sample(pool, count)):
            pool.remove((title, place, text))
            rows.append({"id": f"{title.replace(' ', '-').lower()}-{place}", "part": part, "text": text})
    Path(sys.argv[2]).write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf8")


if __name__ == "__main__":
    main()
