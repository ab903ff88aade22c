"""Mask methods on whole models: what goes, what later steps keep, what is refused and what is left."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn.utils import prune

from engine_rack import bits_of
from penjing.artifact.checkpoint import WEIGHTS, load_network, save_network
from penjing.errors import DataError, RecipeError
from penjing.layers.bitmap import masked_layers
from penjing.layers.masked import MaskedConv2d, MaskedLinear, mask_of
from penjing.layers.static import StaticConv, StaticLinear
from penjing.layers.weight_only import IntConv, IntLinear
from penjing.methods import Aids, make
from penjing.models.capture import call
from penjing.models.family import Model
from penjing.models.open import refreshed
from penjing.models.outputs import flat_output
from penjing.models.tower import Site, Tower
from penjing.recipe import parse_recipe
from penjing.tensor.grid import relative_error
from penjing.values import Note

MASKS = ("magnitude", "wanda", "sparsegpt")


def batches_of(model: Model, count: int = 8) -> list:
    return [model.family.probe(model.net, seed) for seed in range(count)]


def tower_of(model: Model, name: str) -> Tower:
    return next(tower for tower in model.towers if tower.name == name)


def run(model: Model, tower: str, tmp_path, *steps: tuple[str, dict]) -> list[list[Note]]:
    """Steps on one tower; their notes."""
    aids = Aids(model, batches_of(model, 2), 0, tmp_path)
    return [make(name, settings).run(tower_of(model, tower), batches_of(model), aids) for name, settings in steps]


def layers_of(model: Model, tower: str) -> dict[str, Site]:
    """Linear sites and convolutions of a tower."""
    return {name: site for name, site in tower_of(model, tower).sites.items() if site.kind in ("linear", "conv")}


@pytest.mark.parametrize("share", [0.3, 0.5])
def test_global_magnitude_equals_global_unstructured(share, fresh, tmp_path):
    model, other = fresh("clip"), fresh("clip")
    method = make("magnitude", {"share": share, "scope": "global"})
    notes = list(method.apply_all(model.towers[:2], [], Aids(model, [], 0, tmp_path)))
    places = [other.net.get_submodule(note.site) for note in notes]
    assert {note.tower for note in notes} == {tower.name for tower in model.towers[:2]}
    prune.global_unstructured([(part, "weight") for part in places], prune.L1Unstructured, amount=share)
    for note, part in zip(notes, places, strict=True):
        prune.remove(part, "weight")
        assert torch.equal(model.net.get_submodule(note.site).weight, part.weight)
    shares = {note.change for note in notes}
    assert len(shares) > 1  # some sites lose more than others


def test_layer_wise_magnitude_takes_the_same_of_every_site(fresh, tmp_path):
    model = fresh("clip")
    ((*notes,),) = run(model, "image", tmp_path, ("magnitude", {"share": 0.5}))
    assert {note.change for note in notes} == {"50% masked"}
    kinds = {type(site.module) for site in layers_of(model, "image").values()}
    assert kinds == {MaskedLinear, MaskedConv2d}
    for site in layers_of(model, "image").values():
        assert int((site.weight == 0).sum()) == site.weight.numel() // 2


@pytest.mark.parametrize("name", MASKS)
def test_a_pattern_holds_in_every_output(name, fresh, tmp_path):
    model = fresh("llama")
    linear = tuple(name for name, site in layers_of(model, "decoder").items() if site.kind == "linear")
    ((*notes,),) = run(model, "decoder", tmp_path, (name, {"pattern": "2:4", "sites": linear}))
    assert {note.change for note in notes} == {"50% masked, 2:4"}
    for site in linear:
        mask = mask_of(tower_of(model, "decoder").sites[site].module)
        assert bool((mask.view(len(mask), -1, 4).sum(-1) == 2).all())


def test_the_tower_feels_least_of_sparsegpt_and_most_of_magnitude(fresh, tmp_path):
    errors = {}
    for name in MASKS:
        model = fresh("llama")
        with torch.no_grad():  # inputs of different energy and related to each other, as trained models have
            for part in model.net.modules():
                if "Norm" in type(part).__name__:
                    part.weight.copy_(torch.linspace(0.1, 4, len(part.weight)))
        tower = tower_of(model, "decoder")
        wanted = [flat_output(tower.run(batch)) for batch in batches_of(model)]
        run(model, "decoder", tmp_path, (name, {"share": 0.5}))
        errors[name] = sum(
            relative_error(want, flat_output(tower.run(batch)))
            for want, batch in zip(wanted, batches_of(model), strict=True)
        )
    assert errors["sparsegpt"] < errors["wanda"] < errors["magnitude"]


def test_rounds_nest_and_end_at_the_share(fresh, tmp_path):
    model = fresh("clip")
    masks = []
    for turn in (1, 2, 3):
        run(model, "image", tmp_path, ("magnitude", {"share": 0.8, "rounds": 3, "round": turn}))
        masks.append({name: mask_of(site.module).clone() for name, site in layers_of(model, "image").items()})
        for site in layers_of(model, "image").values():  # a healing step moves what stayed
            site.module.weight.data.add_(0.05).mul_(site.module.mask)
    for name, last in masks[2].items():
        shares = [1 - float(mask[name].float().mean()) for mask in masks]
        assert shares == pytest.approx([0.8 * (1 - (1 - turn / 3) ** 3) for turn in (1, 2, 3)], abs=0.01)
        assert not bool((last & ~masks[1][name]).any())
        assert not bool((masks[1][name] & ~masks[0][name]).any())


LATER = {
    "rtn, 8 bits": ("rtn", {"bits": 8}),
    "rtn, 3 bits": ("rtn", {"bits": 3}),
    "rtn, 4 bits with zero points": ("rtn", {"bits": 4, "symmetric": False}),
    "rtn, groups": ("rtn", {"bits": 4, "group": 32}),
    "gptq": ("gptq", {"bits": 4, "group": 32}),
    "gptq, with zero points": ("gptq", {"bits": 3, "group": 32, "symmetric": False}),
    "hqq": ("hqq", {"bits": 4, "group": 32, "symmetric": False}),
    "awq": ("awq", {"bits": 4, "group": 32}),
    "autoround": ("autoround", {"bits": 3, "group": 32, "steps": 20, "symmetric": False}),
    "static_int8": ("static_int8", {"max_error": 9.0}),
    "smoothquant": ("smoothquant", {"strength": 0.5}),
}


@pytest.mark.parametrize("later", LATER)
def test_masks_outlive_later_steps_and_the_disk(later, fresh, tmp_path):
    model = fresh("clip")
    run(model, "image", tmp_path, ("magnitude", {"share": 0.5}))
    masks = {name: mask_of(site.module).clone() for name, site in layers_of(model, "image").items()}
    ((*notes,),) = run(model, "image", tmp_path, LATER[later])
    changed = {note.site: note for note in notes if not note.skipped and note.bits < 32}
    assert changed or later == "smoothquant"
    save_network(model.net, model.folder, tmp_path / "out")
    for net in (model.net, load_network(tmp_path / "out"), load_network(tmp_path / "out", fresh("clip").net)):
        assert {*masked_layers(net)} == {*masks}
        for name, mask in masks.items():
            layer = net.get_submodule(name)
            assert torch.equal(mask_of(layer), mask)
            assert bool((layer.weight[~mask] == 0).all()), name
        assert bits_of(net) == bits_of(model.net)
    with_codes = (IntLinear, IntConv, StaticLinear, StaticConv)
    assert {name for name in masks if isinstance(model.net.get_submodule(name), with_codes)} == {*changed}


def test_static_int8_takes_over_masked_codes(fresh, tmp_path):
    model = fresh("clip")
    settings = {"sites": ("*fc*",)}
    steps = [("magnitude", settings), ("rtn", settings), ("static_int8", {**settings, "max_error": 9.0})]
    *_, notes = run(model, "image", tmp_path, *steps)
    for note in notes:
        layer = model.net.get_submodule(note.site)
        assert isinstance(layer, StaticLinear)
        assert float(mask_of(layer).float().mean()) == 0.5
        assert note.size_bytes == layer.codes.numel() * (1 + 4) / 8 + 5 * layer.out_features + 5


def test_a_training_step_and_a_resumed_run_keep_the_mask(fresh, tmp_path):
    model = fresh("clip")
    run(model, "image", tmp_path, ("wanda", {"share": 0.6}))
    masks = {name: layer.mask.clone() for name, layer in masked_layers(model.net).items()}
    model.net.requires_grad_(True).train()
    steps = torch.optim.SGD([layer.weight for layer in masked_layers(model.net).values()], lr=0.5, momentum=0.9)
    for batch in batches_of(model, 3):
        steps.zero_grad()
        model.net(**batch).logits_per_image.square().sum().backward()
        steps.step()
    model.net.requires_grad_(False).eval()
    save_network(model.net, model.folder, tmp_path / "out")
    again = refreshed(model, load_network(tmp_path / "out"))
    assert {*masked_layers(again.net)} == {*masks}
    assert bits_of(again.net) == bits_of(model.net)
    for name, mask in masks.items():
        layer = again.net.get_submodule(name)
        assert torch.equal(layer.mask, mask)
        assert bool((layer.weight[~mask] == 0).all())
    assert [*again.towers[0].sites] == [*model.towers[0].sites]


def test_half_the_weights_in_eight_bits_are_stored_in_a_sixth(fresh, tmp_path):
    model = fresh("llama")
    linear = tuple(name for name, site in layers_of(model, "decoder").items() if site.kind == "linear")
    wide = {name: nn.Linear(256, 384, bias=False).requires_grad_(False) for name in linear[:3]}
    for name, layer in wide.items():
        tower_of(model, "decoder").sites[name].replace(layer)
    steps = [("magnitude", {"share": 0.5, "scope": "global", "sites": tuple(wide)}), ("rtn", {"sites": tuple(wide)})]
    _, notes = run(model, "decoder", tmp_path, *steps)
    save_network(model.net, model.folder, tmp_path / "out")
    stored = load_file(tmp_path / "out" / WEIGHTS)
    for note in notes:
        parts = [part for name, part in stored.items() if name.startswith(f"{note.site}.")]
        assert sum(part.numel() * part.element_size() for part in parts) == note.size_bytes
    assert sum(note.size_bytes for note in notes) / (4 * 3 * 256 * 384) <= 0.17


def test_masks_come_before_codes(fresh, tmp_path):
    model = fresh("llama")
    recipe = parse_recipe("version: 1\nsteps: [{method: rtn}, {method: wanda, towers: [decoder]}]", "test")
    with pytest.raises(RecipeError, match="wanda after rtn: masks are chosen among floats"):
        recipe.check(model.towers)
    _, notes = run(model, "decoder", tmp_path, ("rtn", {}), ("magnitude", {}))
    assert {note.skipped for note in notes} == {"already integer codes from an earlier step"}
    apart = "version: 1\nsteps: [{method: rtn, towers: [embedding]}, {method: magnitude}, {method: gptq, group: 32}]"
    parse_recipe(apart, "test").check(model.towers)


@pytest.mark.parametrize("later", [[], [("rtn", {"bits": 4})], [("hqq", {"bits": 3, "group": 32, "symmetric": False})]])
@pytest.mark.parametrize("kind", ["llama_tied", "t5", "clip"])
def test_a_table_that_is_named_is_masked_wherever_it_is_read(kind, later, fresh, tmp_path):
    model = fresh(kind)
    tower = next(tower for tower in model.towers if tower.role == "embedding")
    (site,) = tower.sites.values()
    before = len(site.tied)
    aids = Aids(model, [], 0, tmp_path)
    steps = [("magnitude", {"share": 0.5, "sites": (site.name,)}), *later]
    *_, (note,) = [make(name, settings).run(tower, [], aids) for name, settings in steps]
    assert before == len(site.tied) == {"clip": 0, "llama_tied": 1, "t5": 3}[kind]
    save_network(model.net, model.folder, tmp_path / "out")
    again = load_network(tmp_path / "out")
    assert bits_of(again) == bits_of(model.net)
    places = [again.get_submodule(place.name) for place in (site, *site.tied)]
    for place in places:
        assert int((place.weight == 0).sum()) >= site.weight.numel() // 2
        assert mask_of(place) is mask_of(places[0])
    stored = load_file(tmp_path / "out" / WEIGHTS)
    names = tuple(f"{place.name}." for place in (site, *site.tied))
    parts = [part for name, part in stored.items() if name.startswith(names)]
    assert sum(part.numel() * part.element_size() for part in parts) == note.size_bytes
    batch = model.family.probe(model.net, 0)
    with torch.no_grad():
        assert torch.allclose(flat_output(call(again, batch)), flat_output(call(model.net, batch)), atol=1e-5)


def test_a_tied_head_is_left_with_its_table(fresh, tmp_path):
    model = fresh("llama_tied")
    notes = [note for tower in model.towers for note in run(model, tower.name, tmp_path, ("magnitude", {}))[0]]
    assert all("layers" in note.site for note in notes)
    assert isinstance(model.net.lm_head, nn.Linear)
    assert mask_of(model.net.lm_head) is None


REFUSED = {
    "all of it": ("share: 1.0", "share: input should be less than 1"),
    "none of it": ("share: 0", "share: input should be greater than 0"),
    "no pattern": ("pattern: half", "'half' is not n:m"),
    "more than all": ('pattern: "4:2"', "'4:2' is not n:m with 0 < n < m"),
    "nothing of two": ('pattern: "0:2"', "'0:2' is not n:m"),
    "both": ('share: 0.5, pattern: "2:4"', "it says how much goes, so leave `share` away"),
    "a pattern over all": ('pattern: "2:4", scope: global', "a pattern keeps n of m weights"),
    "rows over all": ("unit: row, scope: global", "only single weights are ranked globally"),
    "rounds to a pattern": ('pattern: "2:4", rounds: 3', "a pattern is reached in one round"),
    "a round too many": ("rounds: 2, round: 3", "there are 2 rounds"),
    "an unknown scope": ("scope: tower", "scope: input should be 'site' or 'global'"),
    "a typo": ("shares: 0.5", "has no setting 'shares'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_settings_are_named(case):
    settings, message = REFUSED[case]
    with pytest.raises(RecipeError) as caught:
        parse_recipe(f"version: 1\nsteps: [{{method: magnitude, {settings}}}]", "test")
    assert message in caught.value.message


EMPTIED = {
    "a share of a site": ("magnitude", {"share": 0.9999}, r"a share of 0\.9999 would empty model\.layers\.0\.self"),
    "a share of an output": ("wanda", {"share": 0.99}, r"would empty model\.layers\.0\.self_attn\.q_proj"),
    "a row": ("magnitude", {"share": 0.99, "unit": "row"}, r"would empty model\.layers\.0\.self_attn"),
    "a width no pattern divides": ("sparsegpt", {"pattern": "3:7"}, r"3:7 does not divide the 32 inputs of model"),
}


@pytest.mark.parametrize("case", EMPTIED)
def test_what_would_leave_nothing_is_refused_before_any_work(case, fresh, tmp_path):
    name, settings, message = EMPTIED[case]
    model = fresh("llama")
    before = bits_of(model.net)
    with pytest.raises(RecipeError, match=message):
        make(name, settings).check(tower_of(model, "decoder"))
    with pytest.raises(RecipeError, match=message):
        run(model, "decoder", tmp_path, (name, settings))
    assert bits_of(model.net) == before


def test_ranking_all_together_must_leave_every_site_something(fresh, tmp_path):
    model = fresh("llama")
    model.net.model.layers[1].mlp.down_proj.weight.mul_(1e-6)
    before = bits_of(model.net)
    with pytest.raises(RecipeError, match=r"a share of 0\.8 would empty model\.layers\.1\.mlp\.down_proj"):
        run(model, "decoder", tmp_path, ("magnitude", {"share": 0.8, "scope": "global"}))
    assert bits_of(model.net) == before


@pytest.mark.parametrize("name", ["wanda", "sparsegpt"])
def test_data_is_needed_and_must_be_finite(name, fresh, tmp_path):
    model = fresh("llama")
    with pytest.raises(DataError, match=f"{name} needs calibration data"):
        make(name, {}).run(tower_of(model, "decoder"), [], Aids(model, [], 0, tmp_path))
    with torch.no_grad():
        model.net.model.layers[1].input_layernorm.weight[3] = float("nan")
    with pytest.raises(DataError, match=r"layers\.1\.self_attn\.q_proj sees inputs that are not finite"):
        run(model, "decoder", tmp_path, (name, {}))


def test_few_tokens_are_remarked(fresh, tmp_path):
    model = fresh("llama")
    few = {name: value[:1, :3] for name, value in model.family.probe(model.net, 0).items()}
    notes = make("sparsegpt", {}).run(tower_of(model, "decoder"), [few], Aids(model, [], 0, tmp_path))
    assert all("fewer calibration tokens" in note.remark and "no time on a CPU" in note.remark for note in notes)
