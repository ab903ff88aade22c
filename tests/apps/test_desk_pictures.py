"""The support desk is shown pictures: which passage they stand for, and what nothing stands for."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from penjing.apps.assistant import NOT_KNOWN, Tools, open_desk
from penjing.apps.confidence import builtin_folder
from penjing.errors import DataError
from tiny_colours import Colours, paint

pytestmark = pytest.mark.shop


def shop_window(folder: Path) -> Path:
    """A folder that knows two pots by their pictures, and where to park."""
    folder.mkdir()
    paint(folder, "pots/red.png", (200, 30, 30))
    paint(folder, "pots/blue.png", (30, 40, 200))
    (folder / "pots.md").write_text(
        "# Red pot\n\n![a red pot](pots/red.png)\nIt costs 12 euros.\n\n# Parking\nNowhere.\n"
    )
    (folder / "more.csv").write_text("question,answer,picture\nBlue pot,It costs 15 euros.,pots/blue.png\n")
    return folder


def test_a_picture_stands_for_the_passage_that_shows_it(tmp_path):
    made = open_desk(shop_window(tmp_path / "k"), Tools(sees=Colours()))
    shown = paint(tmp_path, "photo.png", (190, 35, 30))
    reply = made.talk().ask(picture=shown)
    assert (reply.heard, reply.handed_over) == ("Red pot", False)
    assert reply.text == "a red pot It costs 12 euros."
    assert reply.sources[0].passage.id == "pots.md#Red pot"
    assert reply.confidence > made.recognizer.confidence.threshold
    asked = made.talk().ask("how much is it?", picture=paint(tmp_path, "other.png", (35, 45, 190)))
    assert asked.heard == "how much is it? Blue pot"
    assert asked.sources[0].passage.id == "more.csv#Blue pot"


def test_a_picture_of_nothing_known_is_handed_over_or_captioned(tmp_path):
    folder, strange = shop_window(tmp_path / "k"), paint(tmp_path, "green.png", (20, 250, 60))
    reply = open_desk(folder, Tools(sees=Colours())).talk().ask(picture=strange)
    assert (reply.heard, reply.text, reply.handed_over) == ("", NOT_KNOWN, True)

    class Both(Colours):
        def caption(self, picture):
            return "a green pot"

    assert open_desk(folder, Tools(sees=Both())).talk().ask(picture=strange).heard == "a green pot"


@pytest.mark.parametrize("name", ["gone.png", "../secret.png"])
def test_pictures_that_are_not_in_the_folder(name, tmp_path):
    folder = shop_window(tmp_path / "k")
    paint(tmp_path, "secret.png", (1, 2, 3))
    (folder / "x.md").write_text(f"# X\n![x]({name})\n")
    with pytest.raises(DataError, match=rf"x\.md.* {re.escape(name)}"):
        open_desk(folder, Tools(sees=Colours()))
    assert open_desk(folder, Tools()).recognizer is None  # who does not look does not mind


def test_who_only_compares_needs_something_to_compare_with():
    with pytest.raises(DataError, match="the knowledge shows none"):
        open_desk(builtin_folder() / "knowledge", Tools(sees=Colours()))
