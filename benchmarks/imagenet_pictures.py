"""Pictures of things that ImageNet has a class for. usage: imagenet_pictures.py INFO STAMPS OUT

INFO is `timm/data/_info` of the PyPI package `timm` (the order and the names of the classes), STAMPS what `dpkg -x`
unpacks of the Debian package tuxpaint-stamps-default: 119 of its pictures, photographs and drawings, have a caption
that ends in the name of exactly one class.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path

ARTICLES = ("a", "an", "the", "some")


def class_names(info: Path) -> list[str]:
    """The names of the 1,000 classes in the order of the logits, each a list of synonyms between commas."""
    lines = (info / "imagenet_synset_to_lemma.txt").read_text(encoding="utf8").splitlines()
    lemmas = dict(line.split("\t") for line in lines)
    return [lemmas[synset] for synset in (info / "imagenet_synsets.txt").read_text(encoding="utf8").split()]


def label_of(caption: str, names: Sequence[str]) -> str | None:
    """The class whose name a caption is or ends in; None where there are several or none."""
    words = [word for word in re.sub(r"[^a-z ]", " ", caption.lower()).split() if word not in ARTICLES]
    plain = " " + " ".join(words)
    synonyms = {name: [f" {one.lower()}" for one in name.split(", ")] for name in names}
    exact = [name for name, ways in synonyms.items() if {plain, plain.removesuffix("s")} & {*ways}]
    ending = [name for name, ways in synonyms.items() if any(plain.endswith(way) for way in ways)]
    found = exact or ending
    return found[0] if len(found) == 1 else None


def write_pictures(stamps: Path, names: Sequence[str], out: Path) -> int:
    """Write the pictures that have a class, on white, with their labels; returns how many there are."""
    from PIL import Image

    from penjing.data.image import to_rgb

    out.mkdir(parents=True, exist_ok=True)
    rows = []
    for captions in sorted(stamps.rglob("*.txt")):
        picture = captions.with_suffix(".png")
        first = captions.read_text(encoding="utf8", errors="replace").partition("\n")[0]
        label = label_of(first, names) if picture.is_file() else None
        if label is not None:
            name = "-".join(picture.parts[-3:])
            to_rgb(Image.open(picture)).save(out / name)
            kind = "drawing" if "cartoon" in picture.parts else "photograph"
            rows.append({"file_name": name, "label": label, "source": kind})
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    (out / "metadata.jsonl").write_text("".join(lines), encoding="utf8")
    return len(rows)


if __name__ == "__main__":
    info, stamps, out = (Path(argument) for argument in sys.argv[1:])
    print(write_pictures(stamps, class_names(info), out), "pictures")
