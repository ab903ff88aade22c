"""The decoder of a vision-language model reads picture and text: each weighs what the answer feels of it."""

from __future__ import annotations

import pytest
import torch

from penjing.calibrate.balance import modality_weights, weighing
from penjing.calibrate.stats import Range
from penjing.calibrate.walk import walk
from penjing.data.source import load_dataset
from penjing.methods import Aids, make
from penjing.models.open import open_model
from tiny_scenes import save_scenes
from tiny_vision_language import save_vision_language

GROUPS = {"bits": 4, "group": 32}


@pytest.fixture(scope="module", params=["llava", "smolvlm"])
def folder(request, tmp_path_factory):
    return save_vision_language(tmp_path_factory.mktemp("models") / request.param, request.param)


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    return load_dataset(str(save_scenes(tmp_path_factory.mktemp("data") / "scenes", 6))).rows


def opened(folder, rows):
    model = open_model(str(folder))
    batches = list(model.family.batches(model.settings, model.folder, rows))
    (decoder,) = [tower for tower in model.towers if tower.role == "decoder"]
    return model, decoder, batches


def test_picture_and_text_are_felt(folder, rows):
    _, decoder, batches = opened(folder, rows)
    found = modality_weights(decoder, batches)
    assert set(found) == {0, 1}
    assert all(weight > 0 for weight in found.values())
    weigh = weighing(decoder, found)
    assert [len(weigh(batch)) for batch in batches] == [batch["input_ids"].shape[1] for batch in batches]


def settled(folder, rows, tmp_path, name, **settings):
    """The decoder's weights after a method, every one of them in codes."""
    model, decoder, batches = opened(folder, rows)
    notes = list(make(name, {**GROUPS, **settings}).run(decoder, batches, Aids(model, batches, 0, tmp_path)))
    assert {note.site for note in notes if not note.skipped} == set(decoder.sites)
    return {site: place.weight.clone() for site, place in decoder.sites.items()}


def test_weights_are_rounded_by_what_is_felt(folder, rows, tmp_path):
    plain, balanced = (settled(folder, rows, tmp_path, "gptq", balance=way) for way in (False, True))
    assert any(not torch.equal(balanced[site], weight) for site, weight in plain.items())


def test_rounding_is_learned_block_by_block(folder, rows, tmp_path):
    learned, nearest = settled(folder, rows, tmp_path, "autoround", steps=50), settled(folder, rows, tmp_path, "rtn")
    assert any(not torch.equal(learned[site], weight) for site, weight in nearest.items())


def test_every_tower_sees_real_inputs(folder, rows):
    model, _, batches = opened(folder, rows)
    for tower in model.towers:
        if tower.blocks:
            places = [len(calls) for stretch, calls, _ in walk(tower, batches, Range) if not stretch.outside]
            assert places == [len(batches)] * len(tower.blocks)
