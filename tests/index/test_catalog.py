"""Files that are found, what tables say of them, and the catalogue that remembers both."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from penjing.errors import ArtifactError, DataError
from penjing.index.buckets import bucket_count
from penjing.index.catalog import NAME, Catalog, Item
from penjing.index.fields import fields_of
from penjing.index.files import Found, find_files, kind_of
from penjing.index.specs import FLOAT16, check_form, specs
from tiny_colours import paint

pytestmark = pytest.mark.shop


@pytest.mark.parametrize(
    ("name", "kind"),
    [("a.PNG", "image"), ("b.jpeg", "image"), ("c.ogg", "audio"), ("d.md", "text"), ("e.csv", "text"), ("f.py", None),
     ("png", None), (".png", None)],
)  # fmt: skip
def test_kinds_by_their_ending(name, kind):
    assert kind_of(name) == kind


def test_what_is_found_below_a_folder(tmp_path):
    for name in ("b.png", "a/deep/c.png", ".hidden/d.png", "a/.e.png", "f.txt"):
        paint(tmp_path, name.replace(".txt", ".png"), (1, 2, 3))
    (tmp_path / "g.txt").write_text("words")
    (tmp_path / "away.png").symlink_to(tmp_path / "nowhere")
    os.symlink(tmp_path / "a", tmp_path / "a" / "deep" / "again")  # a circle is not walked
    names = [Path(path).relative_to(tmp_path).as_posix() for path in find_files([tmp_path], {"image"}).indexed]
    assert names == ["a/deep/c.png", "b.png", "f.png"]
    both = find_files([tmp_path, tmp_path / "b.png"], {"image", "text"}).indexed
    assert len(both) == 4
    one = both[str(tmp_path / "b.png")]
    assert (one.kind, one.size_bytes) == ("image", (tmp_path / "b.png").stat().st_size)
    assert one.modified_ns == (tmp_path / "b.png").stat().st_mtime_ns
    with pytest.raises(DataError, match="nothing to index"):
        find_files([tmp_path], {"audio"})
    with pytest.raises(DataError, match="is not there"):
        find_files([tmp_path / "gone"], {"image"})


def test_a_table_tells_of_the_files_beside_it(tmp_path):
    place = paint(tmp_path, "a.png", (1, 2, 3))
    assert fields_of(place) == {}
    (tmp_path / "metadata.csv").write_text("file_name,label,year\na.png,cat,2024\nb.png,dog,\n")
    assert fields_of(place) == {"label": "cat", "year": "2024"}
    assert fields_of(tmp_path / "c.png") == {}
    (tmp_path / "metadata.csv").write_text('file_name,label\n"a.png,cat\n')
    os.utime(tmp_path / "metadata.csv", ns=(5, 5))
    assert fields_of(place) == {}  # a broken table says nothing


@pytest.fixture
def catalog(tmp_path) -> Catalog:
    found = Catalog(tmp_path)
    yield found
    found.close()


def file(name: str, size: int = 1, when: int = 1, kind: str = "image") -> Found:
    return Found(f"/photos/{name}", kind, size, when)


def test_what_has_changed(catalog):
    known = {one.path: one for one in (file("a.png"), file("b.png"))}
    assert [one.path for one in catalog.changed(known)] == ["/photos/a.png", "/photos/b.png"]
    for row, one in enumerate(known.values()):
        catalog.add(one, [Item(one.path, one.kind)], row)
    assert catalog.changed(known) == []
    known["/photos/b.png"] = file("b.png", when=2)
    assert [one.path for one in catalog.changed(known)] == ["/photos/b.png"]
    catalog.mark_missing({"/photos/b.png": known["/photos/b.png"]})
    assert (catalog.missing(), catalog.counts()) == (["/photos/a.png"], {"image": 2})
    assert catalog.forget_missing() == 1
    assert (catalog.missing(), catalog.counts()) == ([], {"image": 1})


def test_items_wait_until_they_are_settled(catalog):
    text = file("c.md", kind="text")
    catalog.add(text, [Item(text.path, "text", "A", "one"), Item(text.path, "text", "B", "two")], 5)
    catalog.add(file("d.png"), [], 7, "is not an image")
    assert catalog.waiting() == [(1, 5), (2, 6)]
    assert (catalog.settled(), catalog.faults()) == ([], {"/photos/d.png": "is not an image"})
    catalog.settle()
    assert (catalog.waiting(), catalog.settled()) == ([], [1, 2])
    assert catalog.items([2, 99]) == {2: Item(text.path, "text", "B", "two", {})}
    catalog.add(text, [Item(text.path, "text", "C", "three")], 0)
    assert catalog.waiting() == [(3, 0)]  # numbers are never given twice
    assert catalog.settled() == []


def test_what_is_done_together_is_done_wholly_or_not(catalog):
    def broken() -> None:
        with catalog as begun:
            begun["waiting"] = 7
            begun.add(file("a.png"), [Item("/photos/a.png", "image")], 0)
            raise KeyError("power")

    with pytest.raises(KeyError):
        broken()
    assert catalog["waiting"] is None
    assert catalog.counts() == {}
    with catalog as begun:
        begun["waiting"] = {"a": [1, None]}
    assert catalog["waiting"] == {"a": [1, None]}


def test_filters(catalog):
    for name, fields in (("2024/a.png", {"label": "cat"}), ("2024/b.png", {"label": "dog's"}), ("2025/c.png", {})):
        one = file(name)
        catalog.add(one, [Item(one.path, "image", fields=fields)], 0)
    assert catalog.matching(None, None, {}) is None
    assert catalog.matching("*/2024/*", None, {}) == [1, 2]
    assert catalog.matching("*/2024/*", "image", {"label": "dog's"}) == [2]
    assert catalog.matching(None, "audio", {}) == []
    assert catalog.matching(None, None, {}, "[ac].png") == [1, 3]
    assert catalog.matching(None, None, {}, "*2024*") == []
    assert catalog.matching(None, None, {'x") OR 1=1 --': "cat"}) == []
    assert [*catalog.some_media(2)] == ["/photos/2024/a.png", "/photos/2025/c.png"]
    for patterns in (("*" * 60_000, None), (None, "*" * 60_000)):
        with pytest.raises(DataError, match="a pattern of 60,000 letters is too long"):
            catalog.matching(patterns[0], None, {}, patterns[1])
    assert catalog.matching("*" * 4000, None, {}) == [1, 2, 3]


def test_a_file_that_is_no_catalogue(tmp_path):
    (tmp_path / NAME).write_bytes(b"something else" * 1000)
    with pytest.raises(ArtifactError, match="damaged"):
        Catalog(tmp_path)


def test_forms_by_name_and_size():
    assert [spec.name for spec in specs(512, 5)] == [FLOAT16]
    every = specs(512, 1_000_000)
    sizes = [spec.bytes_per_item for spec in every]
    assert sizes == sorted(sizes)
    for spec in every:
        check_form(spec.name)
    for name in ("int7", "", "pcaN-int8", "float32", "int8; rm -rf"):
        with pytest.raises(DataError, match="no form called"):
            check_form(name)
    assert [bucket_count(count) for count in (10, 99_999, 100_000, 1_000_000)] == [1, 1, 4096, 16_384]
