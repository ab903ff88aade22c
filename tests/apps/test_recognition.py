"""What is shown is found among the pictures of the knowledge, or is not there."""

from __future__ import annotations

import weakref
from pathlib import Path

import pytest
from PIL import Image

from penjing.apps import recognition
from penjing.apps.recognition import Recognizer, again
from penjing.data.knowledge import Passage
from penjing.errors import DataError
from penjing.runtimes.embedding import as_image
from tiny_colours import Colours, paint

pytestmark = pytest.mark.shop

PAINTS = {"red": (210, 20, 20), "leaf": (20, 180, 40), "sea": (20, 60, 200), "sand": (230, 200, 120)}


def passages(folder: Path, **shown: tuple[str, ...]) -> list[Passage]:
    """Passages by their titles, and the colours that each shows."""
    for name, colour in PAINTS.items():
        paint(folder, f"{name}.png", colour)
    return [
        Passage(title, "a.md", title, "said", tuple(f"{name}.png" for name in names)) for title, names in shown.items()
    ]


def test_every_picture_is_found_again_and_others_are_not(tmp_path):
    known = passages(tmp_path, warm=("red", "sand"), cold=("sea",), plain=())
    made = Recognizer(tmp_path, known, Colours())
    for title, (name, (r, g, b)) in zip(("warm", "cold", "warm"), (("red", PAINTS["red"]), ("sea", PAINTS["sea"]),
                                                                   ("sand", PAINTS["sand"])), strict=True):  # fmt: skip
        found = made.find(paint(tmp_path, f"again-{name}.png", (r + 4, g + 3, b - 2)))
        assert found is not None
        assert found.passage.title == title
        assert found.cosine > 0.99
        assert made.confidence.threshold <= found.chance <= 1
    assert made.find(paint(tmp_path, "violet.png", (200, 20, 250))) is None


def test_nearer_is_surer(tmp_path):
    made = Recognizer(tmp_path, passages(tmp_path, one=("red",), two=("leaf",)), Colours())
    steps = [made.find(paint(tmp_path, f"{far}.png", (210 - far, 20, 20))) for far in (0, 15, 30)]
    chances = [found.chance for found in steps if found is not None]
    assert len(chances) >= 2
    assert chances == sorted(chances, reverse=True)


def test_one_picture_alone_is_told_from_drawings(tmp_path):
    made = Recognizer(tmp_path, passages(tmp_path, only=("leaf",)), Colours())
    assert made.find(tmp_path / "leaf.png").passage.title == "only"
    assert made.find(paint(tmp_path, "white.png", (250, 250, 250))) is None


def test_again_is_the_same_picture_otherwise():
    picture = Image.new("RGB", (60, 40), (100, 50, 200))
    turned, cut, darker = again(picture)
    assert (turned.size, cut.size, darker.size) == ((60, 40), (48, 32), (60, 40))
    assert turned.getpixel((30, 20)) == cut.getpixel((0, 0)) == (100, 50, 200)
    assert turned.getpixel((0, 0)) == (128, 128, 128)
    assert darker.getpixel((5, 5)) == (70, 35, 140)


def test_pictures_are_opened_one_after_the_other(tmp_path, monkeypatch):
    known, most, batches = [], [], []

    def opened(item):
        image = as_image(item)
        known.append(weakref.ref(image))
        most.append(sum(one() is not None for one in known))
        return image

    class Counts(Colours):
        def embed_read(self, read, modality):
            batches.append(len(read))
            return super().embed_read(read, modality)

        def read(self, item, modality):
            found = super().read(item, modality)
            self.reads.clear()
            return found

    monkeypatch.setattr(recognition, "as_image", opened)
    Recognizer(tmp_path, passages(tmp_path, warm=("red", "sand"), cold=("sea", "leaf")), Counts())
    assert most == [1, 1, 1, 1]
    assert max(batches) <= 4


def test_a_picture_that_is_none(tmp_path):
    known = passages(tmp_path, one=("red",))
    (tmp_path / "red.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"red\.png"):
        Recognizer(tmp_path, known, Colours())
