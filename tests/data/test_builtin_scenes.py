"""The built-in set `scenes`: everything it says is so, nothing in it was ever trained on, other tools can load it."""

from __future__ import annotations

import importlib.util
import json
from collections import Counter

import pytest
from PIL import Image

from penjing.data.audio import audio_length
from penjing.data.row import DataSet
from penjing.data.scenes import FOLDER
from penjing.data.source import load_dataset
from penjing.data.split import split
from penjing.scenes.captions import caption, false_claims
from penjing.scenes.holdout import held_out
from penjing.scenes.questions import questions
from penjing.scenes.scene import Scene, draw, imagine

pytestmark = pytest.mark.shop
MOST_BYTES = 8_000_000


@pytest.fixture(scope="module")
def data() -> DataSet:
    return load_dataset("scenes")


def test_parts(data):
    told = [row for row in data.rows if "scene" in row.fields]
    assert Counter(data.parts[row.id] for row in told) == {"judge": 300, "calibrate": 40, "select": 20}
    assert [len(part) for part in split(data)] == [200, 100, 1500]
    assert sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file()) <= MOST_BYTES


def test_every_picture_is_the_one_that_its_scene_gives_and_every_caption_is_true(data):
    told = [row for row in data.rows if "scene" in row.fields]
    for row in told:
        scene = Scene.from_json(row.fields["scene"])
        assert scene == imagine(scene.seed)
        assert row.fields["text"] == caption(scene)
        assert false_claims(row.fields["text"], scene) == []
    for row in told[::12]:
        assert Image.open(row.image).tobytes() == draw(Scene.from_json(row.fields["scene"])).tobytes()
    assert len({row.fields["text"] for row in told}) == len(told)


def test_what_is_spoken_was_held_out(data):
    spoken = [row for row in data.rows if row.spoken]
    assert all(held_out(row.fields.get("question") or row.fields["text"]) for row in spoken)
    voices = Counter(row.fields["speaker"] for row in spoken)
    assert 0.1 < voices["new"] / len(spoken) < 0.3
    for row in spoken[::10]:
        frames, rate_hz = audio_length(row.spoken)
        assert 0.5 < frames / rate_hz < 10


def test_spoken_answers_are_those_of_the_scene(data):
    scenes = {row.image: Scene.from_json(row.fields["scene"]) for row in data.rows if "scene" in row.fields}
    checked = 0
    for row in data.rows:
        if row.spoken and "question" in row.fields:
            known = {one.text: one.answer for one in questions(scenes[row.image], 200, 1)}
            if row.fields["question"] in known:
                assert known[row.fields["question"]] == row.fields["answer"]
                checked += 1
    assert checked > 200


@pytest.mark.skipif(importlib.util.find_spec("datasets") is None, reason="datasets is of the workshop")
def test_imagefolder_loads_it(tmp_path):
    import datasets

    folder = str(FOLDER / "images")
    found = datasets.load_dataset("imagefolder", data_dir=folder, split="train", cache_dir=str(tmp_path))
    assert {"image", "text", "question", "answer", "part"} <= set(found.column_names)
    assert len(found) == 4 * 360


def test_the_sounds_keep_the_audiofolder_convention():
    """`datasets` itself reads no sound without torchcodec, which is not among our packages."""
    lines = (FOLDER / "speech" / "metadata.jsonl").read_text(encoding="utf8").splitlines()
    names = [json.loads(line)["file_name"] for line in lines]
    assert sorted(names) == sorted(path.name for path in (FOLDER / "speech").glob("*.ogg"))
    assert len(names) == len(set(names)) == 2 * 360
