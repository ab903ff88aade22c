"""No name in a table, no link in a folder and no picture of a document leads out of the folder that holds it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from PIL import Image

from penjing.apps.recognition import Recognizer
from penjing.apps.transcribe import ignored_sounds
from penjing.data.formats import ignored_note
from penjing.data.hub import _with_cached_files
from penjing.data.knowledge import passages_in, read_knowledge
from penjing.data.paths import is_inside, list_files, resolve_inside
from penjing.data.prose import text_files
from penjing.data.source import load_dataset
from penjing.errors import DataError
from penjing.index.files import find_files
from tiny_colours import Colours, paint

pytestmark = pytest.mark.shop


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a picture, and beside it a secret that links lead to."""
    paint(tmp_path, "secret.png", (1, 2, 3))
    (tmp_path / "secret.txt").write_text("secret")
    paint(tmp_path / "set", "own.png", (4, 5, 6))
    return tmp_path / "set"


def refusal(folder: Path) -> str:
    with pytest.raises(DataError) as caught:
        load_dataset(str(folder))
    assert "\n" not in caught.value.message
    assert caught.value.hint
    return caught.value.message


@pytest.mark.parametrize("column", ["file_name", "image", "audio"])
@pytest.mark.parametrize("form", ["absolute", "parent", "link", "mapping", "mapping link"])
def test_a_row_names_nothing_outside(folder, column, form):
    (folder / "link.png").symlink_to(folder.parent / "secret.png")
    name = {"absolute": str(folder.parent / "secret.png"), "parent": "../secret.png"}.get(form, "link.png")
    if form == "mapping":
        name = str(folder.parent / "secret.png")
    value = {"path": name, "bytes": None} if form.startswith("mapping") else name
    table = folder / "rows.jsonl"
    table.write_text(json.dumps({column: value, "text": "a"}) + "\n")
    assert "is outside of the folder" in refusal(table)


def test_a_row_that_stays_inside_is_read(folder):
    (folder / "sub").mkdir()
    (folder / "sub" / "link.png").symlink_to(folder / "own.png")
    rows = [{"image": {"path": "sub/link.png"}, "text": "a"}, {"image": "own.png", "text": "b"}]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    read = load_dataset(str(folder / "rows.jsonl")).rows
    assert [(row.media, row.file) for row in read] == [
        ("image", folder / "sub" / "link.png"),
        ("image", folder / "own.png"),
    ]


@pytest.mark.parametrize("value", [5, ["a.png"], {"path": 5}, {"bytes": "abc"}, {"bytes": 5}, {"bytes": [1, 2]}, True])
def test_a_row_whose_file_is_of_another_type_is_refused(folder, value):
    (folder / "rows.jsonl").write_text(json.dumps({"image": value, "text": "a"}) + "\n")
    assert "line 1" in refusal(folder / "rows.jsonl")


@pytest.mark.parametrize("name", ["link.png", "cat/link.png", "metadata.jsonl", "own.txt", "cat"])
def test_a_folder_that_links_out_is_refused(folder, name):
    (folder / "cat").mkdir() if name.startswith("cat/") else None
    if name.startswith("cat"):
        (folder / "own.png").unlink()
        paint(folder.parent / "secrets", "a.png", (1, 1, 1))
    targets = {"metadata.jsonl": "secret.txt", "own.txt": "secret.txt", "cat": "secrets"}
    (folder / name).symlink_to(folder.parent / targets.get(name, "secret.png"))
    assert "is outside of the folder" in refusal(folder)


@pytest.mark.parametrize("name", ["link.txt", "deep"])
def test_documents_that_link_out_are_refused(tmp_path, name):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "secret.txt").write_text("secret")
    (tmp_path / "known").mkdir()
    (tmp_path / "known" / "a.txt").write_text("A text that is known.")
    assert [passage.file for passage in read_knowledge(tmp_path / "known")] == ["a.txt"]
    (tmp_path / "known" / name).symlink_to(tmp_path / "elsewhere" / ("secret.txt" if name == "link.txt" else ""))
    with pytest.raises(DataError, match=f"{name} is outside of the folder"):
        read_knowledge(tmp_path / "known")
    with pytest.raises(DataError, match=f"{name} is outside of the folder"):
        load_dataset(str(tmp_path / "known"))


def test_a_picture_of_a_document_that_links_out_is_refused(folder):
    (folder / "a.md").write_text("# A\nSee ![it](link.png) here.\n")
    (folder / "link.png").symlink_to(folder.parent / "secret.png")
    with pytest.raises(DataError, match="outside"):
        read_knowledge(folder)
    passages = [*passages_in(folder / "a.md", folder)]
    with pytest.raises(DataError, match=r"a\.md: link\.png is outside of the folder"):
        Recognizer(folder, passages, Colours())


def test_a_picture_above_its_document_is_inside(folder):
    (folder / "docs").mkdir()
    (folder / "docs" / "a.md").write_text("# A\nSee ![it](../own.png) here.\n")
    (passage,) = read_knowledge(folder)
    assert passage.pictures == ("own.png",)
    found = Recognizer(folder, [passage], Colours()).find(folder / "own.png")
    assert found is not None
    assert found.passage == passage


def test_a_snapshot_of_the_hub_is_one_folder_with_its_blobs(tmp_path):
    blobs, snapshot = tmp_path / "datasets--a--b" / "blobs", tmp_path / "datasets--a--b" / "snapshots" / "0a1b"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    Image.new("RGB", (4, 4)).save(blobs / "hash", "PNG")
    (snapshot / "a.png").symlink_to("../../blobs/hash")
    assert load_dataset(str(snapshot)).rows[0].file == snapshot / "a.png"
    (snapshot / "b.png").symlink_to(tmp_path / "datasets--a--b")
    assert not is_inside(snapshot / "b.png", snapshot)


def test_circles_and_names_that_are_none(tmp_path):
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    listing = list_files(tmp_path)
    assert listing.files == []
    for name in ("", None, 5, "a\0b", "..", "/x", "C:\\x"):
        with pytest.raises(DataError):
            resolve_inside(tmp_path, name, "line 1")


def test_of_the_hub_only_what_it_has_downloaded_is_opened(tmp_path, monkeypatch):
    pytest.importorskip("huggingface_hub")
    from types import SimpleNamespace

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    config = SimpleNamespace(HF_DATASETS_CACHE=str(tmp_path / "c"), DOWNLOADED_DATASETS_PATH=str(tmp_path / "d"))
    inside, outside = tmp_path / "hub" / "a.png", tmp_path / "secret.png"
    for path, expected in ((inside, inside), (outside, {"path": str(outside), "bytes": None})):
        values = {"image": {"path": str(path), "bytes": None}}
        assert _with_cached_files(SimpleNamespace(config=config), values)["image"] == expected


def test_a_folder_that_may_not_be_read_is_told(tmp_path, monkeypatch):
    """Permissions do not hold the superuser back, so the system's answer stands in for them."""
    for name in ("open", "shut"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.txt").write_text("some words")
    scandir = os.scandir

    def refused(path):
        if Path(path).name == "shut":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refused)
    listing = list_files(tmp_path)
    assert [path.name for path in listing.files] == ["a.txt"]
    assert listing.closed == [tmp_path / "shut"]
    for read in (read_knowledge, text_files):
        with pytest.raises(DataError, match="shut may not be read"):
            read(tmp_path)
    found = find_files([tmp_path], {"text"})
    assert ignored_note(found.others, found.outside, found.closed) == f"{tmp_path / 'shut'} may not be read"
    assert ignored_sounds([str(tmp_path)]) == f"left out 1 file: 1 .txt; {tmp_path / 'shut'} may not be read"
