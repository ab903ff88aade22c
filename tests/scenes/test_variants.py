"""What training makes of scenes: moved ones, questions in other words, sentences held out, scenes as JSON."""

from __future__ import annotations

import math
import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penjing.data.pictures import SIDE_PIXELS
from penjing.scenes.captions import PLURALS, caption
from penjing.scenes.holdout import held_out, is_evaluation_scene
from penjing.scenes.questions import REWORDED, questions, reworded
from penjing.scenes.scene import COLOURS, LEAST_APART, SHAPES, Scene, imagine, shifted

pytestmark = pytest.mark.shop
SEEDS = st.integers(0, 2**40)


@given(SEEDS, SEEDS)
def test_a_moved_scene_shows_the_same_things_near_where_they_were(seed, other):
    scene = imagine(seed)
    moved = shifted(scene, other, 8.0)
    assert moved == shifted(scene, other, 8.0)
    assert moved.seed == other
    pairs = list(zip(scene.items, moved.items, strict=True))
    for before, after in pairs:
        assert (before.size, before.colour, before.shape) == (after.size, after.colour, after.shape)
        assert max(abs(before.x - after.x), abs(before.y - after.y)) <= 8.01
        assert after.radius < after.x < SIDE_PIXELS - after.radius
    for place, (_, one) in enumerate(pairs):
        for _, another in pairs[:place]:
            assert (
                math.dist((one.x, one.y), (another.x, another.y)) >= LEAST_APART * (one.radius + another.radius) - 0.02
            )


def test_scenes_do_move():
    scenes = [imagine(seed) for seed in range(50)]
    assert sum(shifted(scene, 7).items != scene.items for scene in scenes) > 40


@given(SEEDS)
def test_a_scene_survives_json(seed):
    assert Scene.from_json(imagine(seed).as_json()) == imagine(seed)


@given(SEEDS)
@settings(deadline=None)
def test_other_words_ask_for_the_same(seed):
    """Nothing but the wording changes: every colour and shape stays, in its order."""
    for question in questions(imagine(seed), 8, seed):
        names = [word for word in re.findall(r"\w+", question.text) if word in WORDS]
        for turn in range(4):
            text = reworded(question.text, random.Random(turn))
            assert [word for word in re.findall(r"\w+", text) if word in WORDS] == names
            assert text


WORDS = frozenset([*COLOURS, *SHAPES, *PLURALS.values(), "left", "right", "above", "below", "more", "larger"])


def test_every_wording_is_used_and_half_stay():
    asked = [question.text for seed in range(400) for question in questions(imagine(seed), 6, seed)]
    dice = random.Random(0)
    changed = [(text, reworded(text, dice)) for text in asked]
    assert 0.4 < sum(one != other for one, other in changed) / len(changed) < 0.6
    made = {other for one, other in changed if one != other}
    for pattern, other in REWORDED:
        example = next(text for text in asked if re.search(pattern, text))
        assert any(re.sub(pattern, other, text) in made for text in asked if re.search(pattern, text)), example


def test_one_sentence_in_ten_is_held_out_whatever_its_case():
    sentences = {caption(imagine(seed)) for seed in range(4000)}
    share = sum(map(held_out, sentences)) / len(sentences)
    assert 0.08 < share < 0.12
    some = next(text for text in sentences if held_out(text))
    assert held_out(some.upper())
    assert held_out(f"  {some} ")
    scene = next(scene for scene in map(imagine, range(100)) if held_out(caption(scene)))
    assert is_evaluation_scene(scene)
