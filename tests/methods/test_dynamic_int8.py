"""Dynamic int8 on whole models: no data, what it keeps, what it refuses."""

from __future__ import annotations

import pytest
import torch

from penjing.errors import RecipeError
from penjing.layers.dynamic import DynamicConv, DynamicInput, DynamicLinear
from penjing.layers.weight_only import IntConv, IntLinear
from penjing.methods import Aids, make
from penjing.models.family import Model
from penjing.models.open import refreshed
from penjing.models.outputs import flat_output
from penjing.recipe import parse_recipe
from penjing.tensor.grid import is_pair_safe, relative_error
from penjing.values import Note


def run(name: str, model: Model, tmp_path, position: int = 0, **settings) -> list[Note]:
    """Apply a method to one tower, without any data."""
    return make(name, settings).run(model.towers[position], [], Aids(model, [], 0, tmp_path))


def rounding(model: Model, position: int = 0) -> list[torch.utils.hooks.RemovableHandle]:
    """Let the layers of a tower round their inputs in PyTorch as engines do."""
    layers = [site.module for site in model.towers[position].sites.values()]
    return [
        layer.register_forward_pre_hook(lambda module, given: (module.input(given[0]), *given[1:]))
        for layer in layers
        if isinstance(getattr(layer, "input", None), DynamicInput)
    ]


@pytest.mark.parametrize(("name", "position"), [("clip", 0), ("clip", 1), ("whisper", 0), ("t5", 0)])
def test_a_tower_barely_moves_and_every_matrix_product_is_int8(name, position, fresh, tmp_path):
    model = fresh(name)
    tower = model.towers[position]
    batch = model.family.probe(model.net, 20)
    with torch.no_grad():
        before = flat_output(tower.run(batch))
        notes = run("dynamic_int8", model, tmp_path, position)
        reference = flat_output(tower.run(batch))
        assert rounding(model, position)
        deployed = flat_output(tower.run(batch))
    assert 0 < relative_error(before, reference) < 0.05
    assert relative_error(before, reference) < relative_error(before, deployed) < 0.1
    for note in notes:
        layer = tower.sites[note.site].module
        assert bool(note.skipped) == isinstance(layer, torch.nn.Conv1d)
        if note.skipped:
            continue
        assert isinstance(layer, (DynamicLinear, DynamicConv))
        assert layer.input.top == 255
        if isinstance(layer, DynamicLinear):
            assert is_pair_safe(layer.codes.T)
        else:
            assert int(layer.codes.abs().max()) <= 63


def test_the_most_sensitive_sites_stay_float_until_the_error_is_small_enough(fresh, tmp_path):
    """One layer gets an input channel that is a thousand times the others: its tokens' own ranges lose the others."""
    model = fresh("clip")
    tower = model.towers[0]
    layers = model.net.vision_model.encoder.layers
    with torch.no_grad():
        layers[0].layer_norm2.weight[3] *= 1000
        layers[0].mlp.fc1.weight[:, 3] /= 1000
    batches = [model.family.probe(model.net, seed) for seed in (20, 21)]
    wanted = [flat_output(tower.run(batch)) for batch in batches]
    method = make("dynamic_int8", {"max_error": 0.03})
    notes = method.run(tower, [], Aids(model, batches, 0, tmp_path))
    floats = [note.site for note in notes if note.skipped]
    assert floats[0] == "vision_model.encoder.layers.0.mlp.fc1"
    assert len(floats) < len(notes) / 2
    assert rounding(model)
    errors = [relative_error(want, flat_output(tower.run(batch))) for batch, want in zip(batches, wanted, strict=True)]
    assert 0 < sum(errors) / len(errors) <= 0.03
    (stated,) = {float(note.skipped.rpartition(" ")[2]) for note in notes if note.skipped}
    assert stated == pytest.approx(sum(errors) / len(errors), abs=6e-4)


def test_codes_of_an_8_bit_step_are_kept_exactly(fresh, tmp_path):
    model = fresh("clip")
    run("rtn", model, tmp_path, bits=8)
    weights_before = {name: site.weight.clone() for name, site in model.towers[0].sites.items()}
    linear = [name for name, site in model.towers[0].sites.items() if isinstance(site.module, IntLinear)]
    notes = {note.site: note for note in run("dynamic_int8", model, tmp_path)}
    assert len(linear) > 10
    for name in linear:
        layer = model.towers[0].sites[name].module
        assert isinstance(layer, DynamicLinear)
        assert torch.equal(layer.weight, weights_before[name])
        assert layer.input.grid[1:] == (64, 127)
        assert not notes[name].skipped
    assert isinstance(model.towers[0].sites["vision_model.embeddings.patch_embedding"].module, IntConv)
    assert "already integer codes" in notes["vision_model.embeddings.patch_embedding"].skipped


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"bits": 4}, "dynamic_int8 cannot take over the 4-bit codes of"),
        ({"bits": 8, "group": 32}, "in groups of 32"),
        ({"bits": 8, "symmetric": False}, "with zero points"),
    ],
)
def test_other_codes_are_a_recipe_error(settings, reason, fresh, tmp_path):
    model = fresh("clip")
    run("rtn", model, tmp_path, **settings)
    with pytest.raises(RecipeError, match=reason) as caught:
        run("dynamic_int8", model, tmp_path)
    assert "bits: 8" in caught.value.hint


@pytest.mark.parametrize("first", ["bits: 4", "bits: 8, group: 32", "bits: 8, symmetric: false"])
def test_a_recipe_is_refused_before_any_work(first, fresh):
    model = fresh("clip")
    steps = f"[{{method: rtn, towers: [image], {first}}}, {{method: dynamic_int8, towers: [%s]}}]"
    with pytest.raises(RecipeError, match=r"tower image: dynamic_int8 after rtn: .* cannot meet int8"):
        parse_recipe(f"{{version: 1, steps: {steps % 'image'}}}", "test").check(model.towers)
    parse_recipe(f"{{version: 1, steps: {steps % 'text'}}}", "test").check(model.towers)


def test_weights_that_two_layers_read_stay_float(fresh, tmp_path):
    model = fresh("clip")
    attention = model.net.vision_model.encoder.layers[0].self_attn
    attention.k_proj.weight = attention.q_proj.weight
    model = refreshed(model)
    skipped = {note.site: note.skipped for note in run("dynamic_int8", model, tmp_path) if note.skipped}
    (reason,) = skipped.values()
    assert reason.startswith("its weights are also read by vision_model.encoder.layers.0.self_attn.")


def test_a_step_comes_twice_and_the_second_finds_nothing_to_do(fresh, tmp_path):
    model = fresh("clip")
    run("dynamic_int8", model, tmp_path)
    again = run("dynamic_int8", model, tmp_path)
    assert {note.skipped for note in again} == {"already int8 activations from an earlier step"}
    assert {note.skipped for note in run("rtn", model, tmp_path)} == {"already integer codes from an earlier step"}
