"""`penjing search` on a real model: files to hits, and what is refused."""

from __future__ import annotations

import re
import shutil
import sqlite3
from pathlib import Path

import pytest

from penjing.data.source import load_dataset


@pytest.fixture(scope="module")
def photos(picture_folder, tmp_path_factory) -> Path:
    """The pictures, and a note."""
    folder = tmp_path_factory.mktemp("found") / "photos"
    shutil.copytree(picture_folder, folder)
    (folder / "notes.md").write_text("# Star\n\na red star above a blue circle\n")
    return folder


@pytest.fixture(scope="module")
def made(photos, picture_artifact, tmp_path_factory):
    """An index, made by the command."""
    import penjing
    from penjing.apps.search import Embedding, index
    from penjing.index.choice import Wanted

    place = tmp_path_factory.mktemp("index") / "photos.idx"
    runner = penjing.load(picture_artifact, threads=1, warm_up=False)
    index(Embedding(runner, picture_artifact), [str(photos)], str(place), Wanted())
    return place


def test_an_index_is_made_and_brought_up_to_date(photos, picture_artifact, penjing, tmp_path):
    first = penjing("search", "index", picture_artifact, photos, "--index", tmp_path / "idx", "--threads", 2)
    assert first.code == 0
    assert first.json["items"]["image"] == first.json["read"] - first.json["items"]["text"]
    assert first.json["form"]["form"] == "float16"
    again = penjing("search", "index", picture_artifact, photos, "--index", tmp_path / "idx")
    assert (again.json["read"], again.json["unchanged"]) == (0, first.json["read"])
    told = penjing("search", "index", picture_artifact, photos, "--index", tmp_path / "idx", as_json=False)
    assert "bytes an item" in told.out


def test_captions_find_their_pictures(made, photos, penjing):
    rows = [row for row in load_dataset(str(photos)).rows if row.media == "image"][:12]
    ranks = []
    for row in rows:
        found = penjing("search", "query", made, row.fields["text"], "-k", 5, "--kind", "image")
        names = [hit["name"] for hit in found.json["hits"]]
        ranks.append(names.index(Path(row.file).name) if Path(row.file).name in names else 9)
    assert sum(rank < 5 for rank in ranks) >= 10
    by_picture = penjing("search", "query", made, rows[0].file, "-k", 1)
    assert by_picture.json["hits"][0]["path"] == str(rows[0].file)
    assert by_picture.json["hits"][0]["score"] == pytest.approx(1, abs=1e-2)
    shown = penjing("search", "query", made, "a red star above a blue circle", "-k", 1, as_json=False)
    assert "notes.md" in shown.out


def test_model_and_index_are_judged_as_one(made, photos, picture_artifact, penjing):
    goals = ["--goal", "recall_at_1>=-0.05", "--goal", "recall_at_5>=0.1"]
    found = penjing("evaluate", made, "--data", photos, "--against", picture_artifact, "--threads", 2, *goals)
    assert found.code == 0
    assert [goal["met"] for goal in found.json["goals"]] == [True, True]
    kept, alone = (found.json[key]["metrics"] for key in ("measures", "against"))
    assert {*kept} == {*alone}
    assert kept["recall_at_1"]["value"] == pytest.approx(alone["recall_at_1"]["value"], abs=0.05)  # float16


def test_an_index_of_the_seedling_is_judged_by_its_retrieval(photos, seedling_artifact, penjing, tmp_path):
    penjing("search", "index", seedling_artifact, photos, "--index", tmp_path / "idx")
    found = penjing("evaluate", tmp_path / "idx", "--data", photos, "--against", seedling_artifact, "--threads", 1)
    assert found.code == 0
    kept, alone = (found.json[key]["metrics"] for key in ("measures", "against"))
    assert {*kept} == {*alone}
    assert any(name.startswith("retrieval/") for name in kept)
    captions = [name for name in kept if name.startswith("caption/")]
    assert [kept[name] for name in captions] == [alone[name] for name in captions]  # the index keeps no words


def test_an_index_of_a_model_that_is_another_by_now_is_not_judged(made, photos, picture_artifact, penjing, tmp_path):
    moved = tmp_path / "moved"
    shutil.copytree(made, moved)
    with sqlite3.connect(moved / "catalog.sqlite") as catalog:
        catalog.execute("UPDATE about SET value = '\"other\"' WHERE key = 'model'")
    message, _ = penjing("evaluate", moved, "--data", photos).check_refused()
    assert "another model" in message


def test_an_index_that_misses_a_goal(made, photos, penjing):
    judged = ["evaluate", made, "--data", photos, "--threads", 2, "--goal", "recall_at_1>=1.01"]
    found = penjing(*judged)
    assert found.code == 1
    assert "not reached: recall_at_1>=1.01 is 0." in found.err
    assert [goal["met"] for goal in found.json["goals"]] == [False]
    shown = penjing(*judged, as_json=False)
    assert shown.code == 1
    assert "✗ recall_at_1>=1.01" in shown.out


@pytest.mark.parametrize(
    ("goal", "said"),
    [("recall_at_1>=-0.01", "relative to another model"), ("wer<=0.1", "does not measure"), ("recall", "not a goal")],
)
def test_goals_that_nothing_can_be_held_against(goal, said, made, photos, penjing):
    message, _ = penjing("evaluate", made, "--data", photos, "--goal", goal).check_refused()
    assert said in message


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["query", "{made}", ""], "empty query"),
        (["query", "{made}", "gone.png"], "is not a file"),
        (["query", "nowhere", "x"], "is no index"),
        (["query", "{made}", "x", "--where", "label"], "says nothing"),
        (["query", "{made}", "x", "-k", "0"], "count"),
        (["query", "{made}", "x", "--artifact", "{speech}"], "another model|no vectors"),
        (["index", "{speech}", "{photos}", "--index", "{tmp}/i"], "no vectors"),
        (["index", "{artifact}", "nowhere", "--index", "{tmp}/i"], "is not there"),
        (["index", "{artifact}", "{photos}", "--index", "{photos}"], "something else"),
        (["index", "{artifact}", "{photos}", "--index", "{tmp}/i", "--recall", "2"], "recall"),
        (["index", "{artifact}", "{photos}", "--index", "{tmp}/i", "--form", "int7"], "no form called"),
        (["query", "{made}", "x", "--kind", "video"], "no kind called 'video'"),
    ],
)
def test_mistakes(arguments, said, made, photos, picture_artifact, speech_artifact, penjing, tmp_path):
    names = {"made": made, "photos": photos, "artifact": picture_artifact, "speech": speech_artifact, "tmp": tmp_path}
    found = penjing("search", *[argument.format(**names) for argument in arguments])
    message, _ = found.check_refused()
    assert re.search(said, message)


def test_nothing_found_is_said(made, penjing):
    found = penjing("search", "query", made, "x", "--path", "*/nowhere/*", as_json=False)
    assert (found.code, found.out) == (0, "")
    assert "nothing found: no item is as the filters ask" in found.err
