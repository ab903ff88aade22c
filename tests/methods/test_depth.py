"""Fewer layers: the ones that matter least go, the rest is linked again and counted anew."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from penjing.errors import RecipeError
from penjing.methods import Aids, make
from penjing.methods.depth import UNSTACKED, block_influence
from penjing.models.family import Model
from penjing.models.open import open_model, refreshed
from penjing.models.outputs import flat_output
from penjing.models.tower import Batch, Tower
from penjing.seedling.configuration import SeedlingConfig
from penjing.seedling.model import SeedlingModel
from penjing.values import Note
from tiny_seedling import small_config


def probes(model: Model, count: int = 4) -> list[Batch]:
    return [model.family.probe(model.net, seed) for seed in range(count)]


def tower_of(model: Model, name: str) -> Tower:
    return next(tower for tower in model.towers if tower.name == name)


def drop(model: Model, name: str, scratch: Path, **settings: Any) -> list[Note]:
    method, target = make("depth", settings), tower_of(model, name)
    method.refuse(model, [target])
    return list(method.apply(target, probes(model), Aids(model, probes(model, 2), 0, scratch)))


@pytest.mark.parametrize("by", ["proxy", "influence"])
@pytest.mark.parametrize(("kind", "tower"), [("clip", "image"), ("llama", "decoder"), ("seedling", "decoder")])
@torch.no_grad()
def test_a_layer_that_does_nothing_is_the_one_that_goes(kind, tower, by, fresh, tmp_path):
    model = fresh(kind)
    silent = tower_of(model, tower).blocks[0]
    for name, module in silent.named_modules():
        if name.endswith(("out_proj", "o_proj", "fc2", "down_proj")):
            for values in module.parameters():
                values.zero_()
    batch = probes(model)[0]
    before = flat_output(tower_of(model, tower).run(batch))
    notes = drop(model, tower, tmp_path, by=by)
    after = refreshed(model)
    torch.testing.assert_close(flat_output(tower_of(after, tower).run(batch)), before)
    assert len(tower_of(after, tower).blocks) == 1
    assert {note.change for note in notes} == {"gone: 0 of 2 layers dropped"}
    assert all(".1." in f"{note.site}." and note.size_bytes == 0 for note in notes)


@torch.no_grad()
def test_influence_is_how_far_a_block_turns_its_input(fresh):
    model = fresh("llama")
    tower, batch = tower_of(model, "decoder"), probes(model)[0]
    hidden = model.net.model(input_ids=batch["input_ids"], output_hidden_states=True).hidden_states
    wanted = 1 - torch.cosine_similarity(hidden[0], hidden[1], -1).mean()
    assert float(block_influence(tower, [batch])[0]) == pytest.approx(float(wanted), abs=1e-6)


def test_settings_count_the_layers(fresh, tmp_path):
    model = fresh("whisper")
    drop(model, "decoder", tmp_path)
    assert (model.net.config.decoder_layers, model.net.config.encoder_layers) == (1, 2)
    assert len(model.net.model.decoder.layers) == 1


@pytest.mark.parametrize(("tower", "setting"), [("image", "image_layers"), ("decoder", "decoder_layers")])
def test_what_is_as_long_by_chance_stays(tower, setting, tmp_path):
    """Lists of settings with a value for each convolution, and layers of other towers, are as many as those that go."""
    count = {"image": 3, "decoder": 2}[tower]
    names = [name for name in vars(small_config()) if name.endswith("_layers") and name != "text_layers"]
    config = SeedlingConfig(**{**vars(small_config()), **dict.fromkeys(names, count), "stem_channels": (8, 16, 32)})
    config.save_pretrained(tmp_path / "model")
    SeedlingModel(config).save_pretrained(tmp_path / "model")
    model = open_model(str(tmp_path / "model"))
    drop(model, tower, tmp_path, by="influence")
    found = model.net.config
    assert {name: getattr(found, name) for name in names} == {**dict.fromkeys(names, count), setting: count - 1}
    assert (found.stem_channels, found.ear_channels) == ([8, 16, 32], [8, 8, 8])
    assert {name for name, values in refreshed(model).net.named_parameters()} == {
        name for name, values in SeedlingModel(found).named_parameters()
    }


def test_all_layers_cannot_go(fresh, tmp_path):
    with pytest.raises(RecipeError, match="tower image: depth would drop 2 of its 2 layers"):
        drop(fresh("clip"), "image", tmp_path, drop=2)


def test_blocks_of_several_stages_are_left(fresh, tmp_path):
    notes = drop(fresh("resnet"), "image", tmp_path)
    assert notes
    assert {note.skipped for note in notes} == {UNSTACKED}
