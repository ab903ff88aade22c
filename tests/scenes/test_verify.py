"""The verifier reads pictures without having learned: what is true passes, whatever one thing is changed does not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from penjing.scenes.captions import caption, false_claims
from penjing.scenes.scene import BACKGROUNDS, COLOURS, SHAPES, Scene, draw, imagine
from penjing.scenes.verify import look, verify

pytestmark = pytest.mark.shop
SEEDS = range(9000, 9120)


@pytest.fixture(scope="module")
def seen() -> dict[int, Scene]:
    return {seed: look(draw(imagine(seed))) for seed in SEEDS}


def test_true_captions_pass(seen):
    refused = {seed: wrong for seed in SEEDS if (wrong := false_claims(caption(imagine(seed)), seen[seed]))}
    assert len(refused) <= 0.02 * len(SEEDS), refused


def test_places_are_found_to_the_pixel(seen):
    for seed in SEEDS[::4]:
        scene = imagine(seed)
        for item in seen[seed].items:
            same = [one for one in scene.items if (one.colour, one.shape) == (item.colour, item.shape)]
            if len(same) == 1:
                assert abs(same[0].x - item.x) < 2.5
                assert abs(same[0].y - item.y) < 2.5


@given(st.sampled_from(SEEDS), st.integers(0, 3), st.sampled_from(["colour", "shape", "gone", "background", "size"]))
@settings(deadline=None, max_examples=200)
def test_a_caption_with_one_thing_changed_does_not_pass(seen, seed, place, change):
    scene = imagine(seed)
    item = scene.items[place % len(scene.items)]
    others = tuple(one for one in scene.items if one is not item)
    if change == "background":
        told = replace(scene, background=next(name for name in BACKGROUNDS if name != scene.background))
    elif change == "gone":
        told = replace(scene, items=others)
    else:
        options = {"colour": COLOURS, "shape": SHAPES, "size": ("small", "large")}[change]
        new = next(name for name in options if name != getattr(item, change))
        told = replace(scene, items=(*others, replace(item, **{change: new})))
    if told.items and caption(told) != caption(scene) and false_claims(caption(told), scene):
        assert false_claims(caption(told), seen[seed])


def test_a_relation_is_read_off_the_picture():
    scene = next(imagine(seed) for seed in range(9000, 9100) if " left of " in caption(imagine(seed)))
    picture, text = draw(scene), caption(scene)
    assert verify(picture, text) == []
    assert verify(picture, text.replace(" left of ", " right of "))
    assert verify(picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT), text)


def test_any_size_and_mode_of_image():
    scene = imagine(9003)
    text = caption(scene)
    for picture in (draw(scene).resize((256, 256)), draw(scene).convert("RGBA")):
        assert verify(picture, text) == []


def test_pictures_of_nothing():
    assert look(Image.new("RGB", (64, 64), BACKGROUNDS["pink"])) == Scene((), "pink", 0)
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)
    assert verify(Image.fromarray(noise), caption(imagine(1)))
    assert verify(draw(imagine(1)), "a sentence about something else")
