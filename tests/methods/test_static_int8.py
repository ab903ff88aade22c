"""Static int8 on whole models: what it needs, what it keeps, what it gives back."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from penjing.errors import DataError, RecipeError
from penjing.layers.static import StaticConv, StaticLinear
from penjing.layers.weight_only import IntConv, IntLinear
from penjing.methods import Aids, make
from penjing.models.family import Model
from penjing.models.outputs import flat_output
from penjing.models.tower import Site, Tower
from penjing.recipe import parse_recipe
from penjing.tensor.grid import is_pair_safe, relative_error
from penjing.values import Note


def compress(model: Model, tmp_path, place: int = 0, **settings) -> list[Note]:
    """Apply to one tower, with three batches of calibration data and two to choose by."""
    batches = [model.family.probe(model.net, seed) for seed in range(3)]
    aids = Aids(model, [model.family.probe(model.net, seed) for seed in (7, 8)], 0, tmp_path)
    return make("static_int8", settings).run(model.towers[place], batches, aids)


def rtn(model: Model, tmp_path, **settings) -> None:
    make("rtn", settings).run(model.towers[0], [], Aids(model, [], 0, tmp_path))


@pytest.mark.parametrize(("name", "place"), [("clip", 0), ("clip", 1), ("whisper", 0), ("t5", 0)])
def test_a_tower_barely_moves_and_every_product_is_int8(name, place, fresh, tmp_path):
    model = fresh(name)
    tower = model.towers[place]
    batch = model.family.probe(model.net, 20)
    with torch.no_grad():
        before = flat_output(tower.run(batch))
        notes = compress(model, tmp_path, place)
        after = flat_output(tower.run(batch))
    assert 0 < relative_error(before, after) < 0.1
    for note in notes:
        assert not note.skipped
        layer = tower.sites[note.site].module
        assert isinstance(layer, (StaticLinear, StaticConv))
        assert layer.input.top == 255
        if isinstance(layer, StaticLinear):
            assert is_pair_safe(layer.codes.T)
        else:
            assert int(layer.codes.abs().max()) <= 63  # 255 · (63 + 63) < 2^15, whichever two become neighbours


@pytest.mark.parametrize("rule", ["absmax", "percentile", "mse"])
def test_the_rule_chooses_the_range(rule, fresh, tmp_path):
    model = fresh("clip")
    compress(model, tmp_path, calibration=rule)
    scales = [site.module.input.scale for site in model.towers[0].sites.values() if hasattr(site.module, "input")]
    plain = fresh("clip")
    compress(plain, tmp_path, calibration="absmax")
    widest = [site.module.input.scale for site in plain.towers[0].sites.values() if hasattr(site.module, "input")]
    narrower = [float(one / other) for one, other in zip(scales, widest, strict=True)]
    assert max(narrower) < 1.05
    # 99.99% of the few thousand inputs of a tiny model are nearly all of them.
    assert (min(narrower) < 1.0) == (rule == "mse")


def test_without_data_it_refuses(fresh, tmp_path):
    model = fresh("clip")
    with pytest.raises(DataError, match="static_int8 needs calibration data") as caught:
        make("static_int8", {}).run(model.towers[0], [], Aids(model, [], 0, tmp_path))
    assert "--data" in caught.value.hint


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_inputs_that_are_not_finite_are_named(bad, fresh, tmp_path):
    model = fresh("clip")
    batch = dict(model.family.probe(model.net, 0))
    batch["pixel_values"] = batch["pixel_values"].clone()
    batch["pixel_values"][0, 0, 3, 3] = bad
    aids = Aids(model, [], 0, tmp_path)
    with pytest.raises(
        DataError,
        match=r"vision_model.embeddings.patch_embedding sees inputs that are not finite in calibration item 2",
    ):
        make("static_int8", {}).run(model.towers[0], [model.family.probe(model.net, 1), batch], aids)


def test_codes_of_an_8_bit_step_are_kept_exactly(fresh, tmp_path):
    model = fresh("clip")
    rtn(model, tmp_path, bits=8)
    kept = {name: site.weight.clone() for name, site in model.towers[0].sites.items()}
    codes = {
        name: site.module.table.packed.flatten(1)[:, : site.module.table.width].to(torch.int16) - 128
        for name, site in model.towers[0].sites.items()
        if isinstance(site.module, IntLinear)
    }
    notes = {note.site: note for note in compress(model, tmp_path)}
    assert len(codes) > 10
    for name, wanted in codes.items():
        layer = model.towers[0].sites[name].module
        assert isinstance(layer, StaticLinear)
        assert torch.equal(layer.codes.T.to(torch.int16), wanted)
        assert torch.equal(layer.weight, kept[name])
        assert layer.input.top == 127  # codes that fill int8 meet inputs of 7 bits, or CPUs without VNNI saturate
        assert not notes[name].skipped
    assert isinstance(model.towers[0].sites["vision_model.embeddings.patch_embedding"].module, IntConv)
    assert "already integer codes" in notes["vision_model.embeddings.patch_embedding"].skipped


def test_kept_codes_cost_a_bit_of_the_inputs_and_little_of_the_output(fresh, tmp_path):
    errors = []
    for first in (False, True):
        model = fresh("clip")
        batch = model.family.probe(model.net, 20)
        with torch.no_grad():
            before = flat_output(model.towers[0].run(batch))
            if first:
                rtn(model, tmp_path, bits=8)
            compress(model, tmp_path)
            errors.append(relative_error(before, flat_output(model.towers[0].run(batch))))
    assert errors[0] < errors[1] < 0.1


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"bits": 4}, "the 4-bit codes of"),
        ({"bits": 8, "group": 32}, "in groups of 32"),
        ({"bits": 8, "symmetric": False}, "with zero points"),
    ],
)
def test_other_codes_are_a_recipe_error(settings, reason, fresh, tmp_path):
    model = fresh("clip")
    rtn(model, tmp_path, **settings)
    with pytest.raises(RecipeError, match=reason) as caught:
        compress(model, tmp_path)
    assert "bits: 8" in caught.value.hint


@pytest.mark.parametrize("first", ["bits: 4", "bits: 8, group: 32", "bits: 8, symmetric: false"])
def test_a_recipe_is_refused_before_any_work(first, fresh):
    model = fresh("clip")
    steps = f"[{{method: rtn, towers: [image], {first}}}, {{method: static_int8, towers: [%s]}}]"
    with pytest.raises(RecipeError, match=r"tower image: static_int8 after rtn: .* cannot meet int8"):
        parse_recipe(f"{{version: 1, steps: {steps % 'image'}}}", "test").check(model.towers)
    parse_recipe(f"{{version: 1, steps: {steps % 'text'}}}", "test").check(model.towers)
    fitting = "{version: 1, steps: [{method: rtn, bits: 8}, {method: static_int8, towers: [image]}]}"
    assert parse_recipe(fitting, "test").check(model.towers) is None


def test_steps_on_different_sites_do_not_meet(fresh):
    model = fresh("clip")
    steps = "[{method: rtn, bits: 4, sites: ['*.mlp.*']}, {method: static_int8, sites: ['*.%s.*']}]"
    parse_recipe(f"{{version: 1, steps: {steps % 'self_attn'}}}", "test").check(model.towers)
    with pytest.raises(RecipeError, match="static_int8 after rtn: 4-bit codes"):
        parse_recipe(f"{{version: 1, steps: {steps % 'mlp'}}}", "test").check(model.towers)


def test_the_worst_sites_stay_float_until_the_output_is_near_enough(fresh, tmp_path):
    loose = compress(fresh("clip"), tmp_path, max_error=0.5)
    assert not any(note.skipped for note in loose)
    model = fresh("clip")
    strict = compress(model, tmp_path, max_error=1e-3)
    floats = {note.site: note for note in strict if note.skipped}
    ints = [note for note in strict if not note.skipped]
    assert floats
    for name, note in floats.items():
        assert f"among the {len(floats)} most sensitive sites" in note.skipped
        assert isinstance(model.towers[0].sites[name].module, (nn.Linear, nn.Conv2d))
    for note in ints:
        assert isinstance(model.towers[0].sites[note.site].module, (StaticLinear, StaticConv))


class Scales(nn.Module):
    """A loud branch that rounds well and a quiet one that rounds badly."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.loud, self.quiet = nn.Linear(16, 16), nn.Linear(16, 16)
        with torch.no_grad():
            self.quiet.weight[:, 0] *= 40

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return 1000 * self.loud(values) + 0.01 * self.quiet(values)


def test_what_the_tower_feels_decides_and_not_how_badly_a_site_rounds(fresh, tmp_path):
    net = Scales()
    sites = {name: Site(name, "linear", net, name) for name in ("loud", "quiet")}
    tower = Tower("toy", "encoder", "text", net, lambda batch: net(batch["values"]), (), sites)
    batches = [{"values": torch.randn(5, 16)} for _ in range(3)]
    with torch.no_grad():
        wanted = [flat_output(tower.run(batch)) for batch in batches]
        aids = Aids(fresh("clip"), batches, 0, tmp_path)
        notes = {note.site: note for note in make("static_int8", {"max_error": 1e-3}).run(tower, batches, aids)}
        found = [flat_output(tower.run(batch)) for batch in batches]
    assert notes["quiet"].error > notes["loud"].error
    assert (bool(notes["loud"].skipped), bool(notes["quiet"].skipped)) == (True, False)
    assert max(relative_error(want, got) for want, got in zip(wanted, found, strict=True)) < 1e-3


def test_giving_everything_back_gives_the_model_back(fresh, tmp_path):
    model = fresh("clip")
    batch = model.family.probe(model.net, 20)
    with torch.no_grad():
        before = flat_output(model.towers[0].run(batch))
        notes = compress(model, tmp_path, max_error=1e-9)
        assert all(note.skipped for note in notes)
        assert torch.equal(flat_output(model.towers[0].run(batch)), before)


class Fork(nn.Module):
    """One of its layers never runs; two places read one weight."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.used, self.idle, self.twin = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)
        self.twin.weight = self.used.weight

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return self.twin(torch.relu(self.used(values)))


def test_sites_that_never_run_or_share_their_weights_are_left(fresh, tmp_path):
    net = Fork()
    used, idle, twin = (Site(name, "linear", net, name) for name in ("used", "idle", "twin"))
    sites = {"used": Site("used", "linear", net, "used", (twin,)), "idle": idle}
    tower = Tower("toy", "encoder", "text", net, lambda batch: net(batch["values"]), (), sites)
    assert used.weight is twin.weight
    notes = make("static_int8", {}).run(tower, [{"values": torch.randn(5, 4)}], Aids(fresh("clip"), [], 0, tmp_path))
    reasons = {note.site: note.skipped for note in notes}
    assert reasons == {"used": "its weights are also read by twin", "idle": "never reached by the calibration data"}
