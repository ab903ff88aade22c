"""Files that are not there stay in the index; files that moved are known again and not embedded anew."""

from __future__ import annotations

import os
import shutil
import sqlite3
from pathlib import Path

import pytest

from penjing.apps.search import Searcher, index
from penjing.errors import DataError
from penjing.index.choice import Wanted
from penjing.index.store import Store
from tiny_colours import Colours, embedding, paint, paint_many

pytestmark = pytest.mark.shop
GREEN = "10 200 30"


def update(tmp_path: Path, *places: Path, form: str | None = None, forget: bool = False):
    """Bring the index up to date; returns what was done, and how many files the model was given."""
    runner = Colours()
    wanted = Wanted(threads=2, form=form)
    made = index(embedding(tmp_path, runner), [*map(str, places)], str(tmp_path / "idx"), wanted, forget=forget)
    return made, len([given for given in runner.reads if isinstance(given, Path)])


def found(tmp_path: Path, count: int = 100, query: str = GREEN) -> list:
    return Searcher(tmp_path / "idx", embedding(tmp_path)).find(query, count)


@pytest.fixture
def photos(tmp_path):
    paint_many(tmp_path / "photos", 20)
    paint(tmp_path / "photos", "green.png", (10, 200, 30))
    return tmp_path / "photos"


@pytest.mark.parametrize("left", ["nothing", "an empty folder"])
def test_a_disk_that_is_not_mounted_empties_nothing(photos, tmp_path, left):
    update(tmp_path, photos)
    before = [(hit.path, hit.score) for hit in found(tmp_path)]
    photos.rename(tmp_path / "unmounted")
    if left != "nothing":
        photos.mkdir()
    paint_many(tmp_path / "more", 3, seed=4)
    for _ in range(2):
        made, _ = update(tmp_path, tmp_path / "more")
        assert (made.items, made.missing, made.removed, made.moved) == ({"image": 24}, 21, 0, 0)
        assert made.notes[0].startswith("missing: 21 files stay in the index (")
        assert "--forget removes them" in made.notes[0]
    hits = found(tmp_path)
    assert hits[0].path == str(photos / "green.png")
    assert {hit.path: hit.missing for hit in hits} == {
        hit.path: "photos" in hit.path and "more" not in hit.path for hit in hits
    }
    if photos.exists():
        photos.rmdir()
    (tmp_path / "unmounted").rename(photos)
    shutil.rmtree(tmp_path / "more")
    made, read = update(tmp_path, photos, forget=True)
    assert (read, made.missing, made.removed, made.unchanged) == (0, 0, 3, 21)
    assert [(hit.path, hit.score) for hit in found(tmp_path)] == before


def test_forgotten_is_what_is_missing_and_nothing_else(photos, tmp_path):
    update(tmp_path, photos)
    (photos / "green.png").unlink()
    made, _ = update(tmp_path, photos)
    assert (made.missing, found(tmp_path)[0].missing) == (1, True)
    made, _ = update(tmp_path, photos, forget=True)
    assert (made.items, made.missing, made.removed, made.notes) == ({"image": 20}, 0, 1, ())
    assert not any(hit.missing for hit in found(tmp_path))


@pytest.mark.parametrize(("form", "more"), [(None, 0), ("int8", 1080)])
def test_a_moved_folder_is_not_embedded_anew(photos, tmp_path, form, more):
    paint_many(photos, more, seed=6)
    (photos / "a.md").write_text(f"# Green\n\n{GREEN}\n\n# Red\n\n250 3 4\n")
    update(tmp_path, photos, form=form)
    before = [(Path(hit.path).name, hit.title, hit.score) for hit in found(tmp_path)]
    photos.rename(tmp_path / "album")
    made, read = update(tmp_path, tmp_path / "album")
    assert (read, made.read, made.moved, made.missing, made.notes) == (0, 0, 22 + more, 0, ())
    assert made.items == {"image": 21 + more, "text": 2}
    assert [(Path(hit.path).name, hit.title, hit.score) for hit in found(tmp_path)] == before
    assert all(Path(hit.path).is_relative_to(tmp_path / "album") and not hit.missing for hit in found(tmp_path))
    assert Store.opened(tmp_path / "idx").catalog["places"] == [str(tmp_path / "album")]
    made, read = update(tmp_path, tmp_path / "album")
    assert (read, made.unchanged, made.moved) == (0, 22 + more, 0)


def test_what_is_only_touched_is_not_embedded_anew(photos, tmp_path):
    update(tmp_path, photos)
    for path in photos.rglob("*.png"):
        os.utime(path, ns=(7, 7))
    made, read = update(tmp_path, photos)
    assert (read, made.moved, made.items) == (0, 21, {"image": 21})
    assert update(tmp_path, photos)[0].unchanged == 21


def test_names_that_change_places_and_chains(photos, tmp_path):
    red = paint(photos, "red.png", (250, 3, 4))
    update(tmp_path, photos)
    green, spare = photos / "green.png", photos / "spare"
    green.rename(spare)
    red.rename(green)
    spare.rename(red)  # they have changed places
    for number, path in enumerate((green, red), 1):
        os.utime(path, ns=(number, number))
    made, read = update(tmp_path, photos)
    assert (read, made.moved, made.missing) == (0, 2, 0)
    assert found(tmp_path)[0].path == str(red)
    red.rename(photos / "leaf.png")  # what was there moves on, and something new takes its name
    paint(photos, "red.png", (9, 9, 9))
    made, read = update(tmp_path, photos)
    assert (read, made.moved, made.missing, made.items) == (1, 1, 0, {"image": 23})
    assert found(tmp_path)[0].path == str(photos / "leaf.png")
    assert found(tmp_path, query="9 9 9")[0].path == str(red)


def test_a_copy_is_embedded_and_the_original_stays(photos, tmp_path):
    update(tmp_path, photos)
    shutil.copy(photos / "green.png", photos / "copy.png")
    made, read = update(tmp_path, photos)
    assert (read, made.moved, made.items) == (1, 0, {"image": 22})
    assert {Path(hit.path).name for hit in found(tmp_path, 2)} == {"green.png", "copy.png"}
    for name in ("green", "copy"):
        (photos / f"{name}.png").rename(photos / f"{name}-2.png")
    made, read = update(tmp_path, photos)
    assert (read, made.moved, made.missing, made.items) == (0, 2, 0, {"image": 22})


def test_what_has_another_content_is_embedded(photos, tmp_path):
    update(tmp_path, photos)
    size = (photos / "green.png").stat().st_size
    (photos / "green.png").unlink()
    other = paint(photos, "other.png", (10, 201, 30))
    assert other.stat().st_size == size
    made, read = update(tmp_path, photos)
    assert (read, made.moved, made.missing) == (1, 0, 1)


def test_an_index_of_the_format_before_is_taken_over(photos, tmp_path):
    update(tmp_path, photos)
    base = sqlite3.connect(tmp_path / "idx" / "catalog.sqlite", isolation_level=None)
    for column in ("content", "missing"):
        base.execute(f"ALTER TABLE file DROP COLUMN {column}")
    base.execute("UPDATE about SET value = '2' WHERE key = 'format'")
    base.close()
    assert found(tmp_path)[0].path == str(photos / "green.png")
    made, read = update(tmp_path, photos)
    assert (read, made.unchanged) == (0, 21)
    photos.rename(tmp_path / "album")
    made, read = update(tmp_path, tmp_path / "album")
    assert (read, made.moved) == (0, 21)


def test_links_and_other_files_are_named_and_counted(photos, tmp_path):
    (tmp_path / "away").mkdir()
    paint(tmp_path / "away", "far.png", (3, 3, 3))
    (photos / "link").symlink_to(tmp_path / "away")
    (photos / "far.png").symlink_to(tmp_path / "away" / "far.png")
    (photos / "again.png").symlink_to(photos / "green.png")
    for name in ("a.svg", "b.docx", "c.wav"):
        (photos / name).write_bytes(b"x")
    made, _ = update(tmp_path, photos)
    assert made.items == {"image": 22}
    (note,) = made.notes
    assert note == (
        "left out 5 files: 1 .docx, 1 .svg, 1 .wav; links out of the folder: "
        f"{photos / 'far.png'} and 1 more (name the folder that they lead to)"
    )
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "a.docx").write_bytes(b"x")
    with pytest.raises(DataError, match="nothing to index") as caught:
        update(tmp_path, tmp_path / "empty")
    assert "1 .docx" in caught.value.hint
