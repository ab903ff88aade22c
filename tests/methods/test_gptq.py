"""GPTQ on whole models: nearer to the source than rounding, block after block, and what it refuses."""

from __future__ import annotations

import pytest
import torch

from penjing.errors import DataError
from penjing.layers.weight_only import IntLinear
from penjing.methods import Aids, make
from penjing.models.family import Model
from penjing.models.outputs import flat_output
from penjing.models.tower import Tower
from penjing.tensor.grid import relative_error
from penjing.values import Note


def batches_of(model: Model, count: int = 12) -> list:
    return [model.family.probe(model.net, seed) for seed in range(count)]


def tower_of(model: Model, name: str) -> Tower:
    return next(tower for tower in model.towers if tower.name == name)


def compress(model: Model, tower: str, tmp_path, method: str = "gptq", **settings) -> list[Note]:
    aids = Aids(model, [], 0, tmp_path)
    return make(method, settings).run(tower_of(model, tower), batches_of(model), aids)


@pytest.mark.parametrize(("kind", "name"), [("clip", "image"), ("whisper", "decoder"), ("llama", "decoder")])
def test_the_tower_feels_less_than_of_rounding(kind, name, fresh, tmp_path):
    errors = {}
    for method in ("rtn", "gptq"):
        model = fresh(kind)
        batches = batches_of(model)
        wanted = [flat_output(tower_of(model, name).run(batch)) for batch in batches]
        linear = tuple(site.name for site in tower_of(model, name).sites.values() if site.kind == "linear")
        notes = compress(model, name, tmp_path, method, bits=3, group=32, sites=linear)
        assert all(not note.skipped for note in notes)
        found = [flat_output(tower_of(model, name).run(batch)) for batch in batches]
        errors[method] = sum(relative_error(*pair) for pair in zip(wanted, found, strict=True))
    assert errors["gptq"] < errors["rtn"]


def test_codes_cost_what_those_of_rounding_cost(fresh, tmp_path):
    sizes = {}
    for method in ("rtn", "gptq"):
        model = fresh("llama")
        tower = tower_of(model, "decoder")
        linear = tuple(site.name for site in tower.sites.values() if site.kind == "linear")
        notes = compress(model, "decoder", tmp_path, method, bits=4, group=32, sites=linear)
        sizes[method] = [note.size_bytes for note in notes]
        assert all(isinstance(tower.sites[name].module, IntLinear) for name in linear)
    assert sizes["gptq"] == sizes["rtn"]


def test_without_data_there_is_nothing_to_settle_by(fresh, tmp_path):
    model = fresh("llama")
    with pytest.raises(DataError, match="gptq needs calibration data"):
        make("gptq", {}).run(tower_of(model, "decoder"), [], Aids(model, [], 0, tmp_path))


def test_an_input_that_is_not_finite_is_named(fresh, tmp_path):
    model = fresh("llama")
    with torch.no_grad():
        model.net.model.layers[1].input_layernorm.weight[3] = float("nan")
    with pytest.raises(
        DataError, match=r"layers\.1\.self_attn\.q_proj sees inputs that are not finite in calibration item 1"
    ):
        compress(model, "decoder", tmp_path, group=32)


def test_a_group_wider_than_its_layer_leaves_it(fresh, tmp_path):
    notes = compress(fresh("llama"), "decoder", tmp_path, group=128)
    skipped = [note for note in notes if note.skipped]
    assert skipped
    assert all("fewer than one group of 128" in note.skipped for note in skipped)


def test_one_item_is_enough_to_give_codes(fresh, tmp_path):
    model = fresh("llama")
    notes = make("gptq", {"group": 32}).run(
        tower_of(model, "decoder"), batches_of(model, 1), Aids(model, [], 0, tmp_path)
    )
    assert all(0 < note.error < 0.2 for note in notes if not note.skipped)


def test_too_few_tokens_are_remarked(fresh, tmp_path):
    model = fresh("llama")
    tower = next(tower for tower in model.towers if tower.role == "decoder")
    batch = model.family.probe(model.net, 0)
    few = {name: value[:1, :3] for name, value in batch.items()}
    many = [model.family.probe(model.net, seed) for seed in range(40)]
    notes = make("gptq", {"group": 32}).run(tower, [few], Aids(model, [], 0, tmp_path))
    assert all("fewer calibration tokens" in note.remark for note in notes)
    enough = fresh("llama")
    tower = next(tower for tower in enough.towers if tower.role == "decoder")
    assert not any(note.remark for note in make("gptq", {"group": 32}).run(tower, many, Aids(enough, [], 0, tmp_path)))
