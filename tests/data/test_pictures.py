"""The built-in pictures: the same everywhere, no two alike, and the judge rows out of training's reach."""

from __future__ import annotations

import hashlib
import io
import random
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from penjing.data import pictures
from penjing.data.image import read_image
from penjing.data.row import DataSet

pytestmark = pytest.mark.shop


@pytest.fixture(scope="module")
def data() -> DataSet:
    return pictures.load_pictures()


def test_parts_have_the_agreed_sizes(data: DataSet) -> None:
    assert Counter(data.parts.values()) == {"judge": 200, "select": 60, "calibrate": 60}
    assert [row.id for row in data.rows] == list(data.parts)


def test_no_two_rows_share_a_caption_a_meaning_or_a_picture(data: DataSet) -> None:
    captions = {row.fields["text"] for row in data.rows}
    meanings = {scene.meaning for scene in pictures.frozen().values()}
    drawings = {hashlib.sha256(row.file).hexdigest() for row in data.rows if isinstance(row.file, bytes)}
    assert len(captions) == len(meanings) == len(drawings) == len(data.rows) == 320


def test_rows_are_png_bytes_of_64_by_64(data: DataSet) -> None:
    for row in data.rows[::40]:
        assert row.media == "image"
        assert isinstance(row.file, bytes)
        assert read_image(row.file).size == (64, 64)


def test_same_seed_same_picture() -> None:
    for seed in (0, 7, pictures.FIRST_SEED):
        (first, words), (second, again) = pictures.draw(seed), pictures.draw(seed)
        assert words == again
        assert first.tobytes() == second.tobytes()
    assert pictures.draw(1)[1] != pictures.draw(2)[1]


def test_the_rows_never_change(data: DataSet) -> None:
    text = "\n".join(row.fields["text"] for row in data.rows)
    assert data.rows[0].fields["text"] == "a large brown diamond above a small red circle on a teal background"
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == "ac43cb7048315033"


def test_decoded_rows_equal_what_draw_gives(data: DataSet) -> None:
    seed, scene = next(iter(pictures.frozen().items()))
    image, caption = pictures.draw(seed)
    row = data.rows[0]
    assert isinstance(row.file, bytes)
    assert row.fields["text"] == caption == scene.caption
    np.testing.assert_array_equal(np.asarray(read_image(row.file)), np.asarray(image))


def test_mirrored_sentences_mean_the_same() -> None:
    star, ring = pictures.Thing("small", "red", "star"), pictures.Thing("large", "blue", "ring")
    left = pictures.Scene((star, ring), "left of", "grey")
    right = pictures.Scene((ring, star), "right of", "grey")
    above, below = (pictures.Scene((star, ring), relation, "grey") for relation in ("above", "below"))
    assert left.caption == "a small red star left of a large blue ring on a grey background"
    assert left.meaning == right.meaning
    assert len({left.meaning, above.meaning, below.meaning}) == 3


@pytest.mark.parametrize(
    ("things", "relation", "caption"),
    [
        (1, "", "a small pink cross on a navy background"),
        (3, "", "three small pink crosses on a navy background"),
        (2, "inside", "a small pink cross inside a small pink cross on a navy background"),
    ],
)
def test_captions_are_sentences(things: int, relation: str, caption: str) -> None:
    cross = pictures.Thing("small", "pink", "cross")
    assert pictures.Scene((cross,) * things, relation, "navy").caption == caption


def test_every_kind_of_scene_is_drawn_and_visible() -> None:
    relations = Counter[str]()
    for seed in range(400):
        scene = pictures.imagine(seed)
        image = np.asarray(pictures.render(scene, seed)).astype(int)
        away = np.abs(image - np.array(pictures.BACKGROUNDS[scene.background])).sum(-1) > 40
        assert 0.01 < away.mean() < 0.8, scene.caption
        edges = np.concatenate([away[0], away[-1], away[:, 0], away[:, -1]])
        assert edges.mean() < 0.15, scene.caption
        relations[scene.relation or str(len(scene.things))] += 1
    assert set(relations) == {*pictures.RELATIONS, "1", "2", "3", "4"}


def test_things_stand_where_the_sentence_says() -> None:
    for seed in range(300):
        scene = pictures.imagine(seed)
        centres = pictures.places(scene, random.Random(seed))
        if scene.relation in ("left of", "right of", "above", "below"):
            axis = 0 if scene.relation in ("left of", "right of") else 1
            before = centres[0][axis] < centres[1][axis]
            assert before == (scene.relation in ("left of", "above"))
            assert abs(centres[0][axis] - centres[1][axis]) > 0.3


def test_two_things_are_never_the_same_thing() -> None:
    for seed in range(2000):
        scene = pictures.imagine(seed)
        if scene.relation:
            assert scene.things[0] != scene.things[1]


def test_png_is_lossless() -> None:
    image, _ = pictures.draw(3)
    stream = io.BytesIO()
    image.save(stream, "PNG")
    with Image.open(stream) as reopened:
        assert reopened.tobytes() == image.tobytes()
