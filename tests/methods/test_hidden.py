"""The hidden width: settings say it, the narrow network computes the rest, its layers take over from the wide ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from penjing.errors import ModelError, RecipeError
from penjing.methods import Aids, make
from penjing.methods.hidden import CHANGED, plan_hidden
from penjing.models.blind import UNLIKE, why_unproven
from penjing.models.family import Model
from penjing.models.open import open_model, refreshed
from penjing.models.outputs import flat_output
from penjing.models.resize import resized
from penjing.models.tower import Batch, Tower
from penjing.recipe import check_fit, recipe_of
from penjing.tensor.grid import relative_error
from penjing.tensor.importance import refit_to
from penjing.values import Note

SETTINGS = {
    "clip": ("image", lambda config: (config.vision_config.hidden_size, config.text_config.hidden_size), (16, 32)),
    "vision_text": (
        "image",
        lambda config: (config.vision_config.hidden_size, config.vision_config.pooler_output_size),
        (16, 16),
    ),
    "vit": ("image", lambda config: (config.hidden_size, config.num_attention_heads), (16, 1)),
    "whisper": ("encoder decoder", lambda config: (config.d_model, config.decoder_attention_heads), (16, 1)),
    "llama_grouped": ("decoder", lambda config: (config.hidden_size, config.num_attention_heads), (16, 4)),
    "gpt2": ("decoder", lambda config: (config.n_embd, config.n_head), (16, 1)),
}


def probes(model: Model, count: int = 6) -> list[Batch]:
    return [model.family.probe(model.net, seed) for seed in range(count)]


def named(model: Model, names: str) -> list[Tower]:
    return [tower for tower in model.towers if tower.name in names.split()]


def narrow(model: Model, names: str, scratch: Path, **settings: Any) -> list[Note]:
    """Apply to the towers of these names."""
    method = make("width", {"multiple": 8, **settings})
    targets = named(model, names)
    method.refuse(model, targets)
    return list(method.apply_all(targets, probes(model), Aids(model, probes(model, 2), 0, scratch)))


@pytest.mark.parametrize("kind", SETTINGS)
def test_settings_say_the_width_and_a_plain_checkpoint_opens(kind, fresh, tmp_path):
    names, read, wanted = SETTINGS[kind]
    model = fresh(kind)
    before = sum(values.numel() for values in model.net.parameters())
    notes = narrow(model, names, tmp_path, hidden=0.5)
    assert read(model.net.config) == wanted
    done = [note for note in notes if not note.skipped]
    assert done
    assert all("→" in note.change for note in done)
    assert sum(values.numel() for values in model.net.parameters()) < 0.8 * before
    model.net.save_pretrained(tmp_path / "saved")
    again = open_model(str(tmp_path / "saved"))
    probe = probes(model, 1)[0]
    for one, other in zip(refreshed(model).towers, again.towers, strict=True):
        if one.blocks:
            assert torch.equal(flat_output(one.run(probe)), flat_output(other.run(probe)))


@pytest.mark.parametrize("kind", SETTINGS)
def test_the_narrow_network_says_what_the_wide_one_says_of_the_channels_that_stay(kind, fresh):
    model = fresh(kind)
    with torch.no_grad():
        for values in model.net.parameters():
            values.mul_(5 if values.dim() > 1 else 1)  # so that attention looks somewhere
    (plan, *_) = plan_hidden(model, named(model, SETTINGS[kind][0]), 0.5, 8)
    assert plan.resize is not None
    dice = torch.Generator().manual_seed(1)
    keep = {}
    for stream in plan.resize.axes:
        keep[stream] = torch.zeros(plan.resize.count(stream), dtype=torch.bool)
        keep[stream][torch.randperm(len(keep[stream]), generator=dice)[: plan.resize.kept(stream)]] = True
    wide = {name: values.clone() for name, values in model.net.state_dict().items()}
    small = refreshed(model, resized(model.net, plan.resize, keep))
    probe = probes(model, 1)[0]
    assert why_unproven(model, small, plan.resize, keep, probe) == ""
    assert all(torch.equal(values, wide[name]) for name, values in model.net.state_dict().items())
    with torch.no_grad():
        next(values for name, values in small.net.named_parameters() if "attn" in name or "attention" in name).mul_(3)
    assert why_unproven(model, small, plan.resize, keep, probe) == UNLIKE
    broken = small.towers[0].blocks[0].register_forward_pre_hook(fails)
    assert why_unproven(model, small, plan.resize, keep, probe).endswith("fails: RuntimeError: out of paper")
    broken.remove()
    model.towers[0].blocks[0].register_forward_pre_hook(fails)
    with pytest.raises(ModelError, match=r"fails on inputs that it is made for: RuntimeError: out of paper"):
        why_unproven(model, small, plan.resize, keep, probe)


def fails(module: torch.nn.Module, inputs: object) -> None:
    """A hook of a block that breaks."""
    raise RuntimeError("out of\npaper")


def test_layers_take_over_from_the_wide_ones(fresh, tmp_path):
    lost = {}
    for refit in (False, True):
        model = fresh("llama_grouped")
        seen = probes(model)[3]
        wanted = flat_output(named(model, "head")[0].run(seen))
        notes = narrow(model, "decoder", tmp_path, hidden=0.25, refit=refit)
        lost[refit] = relative_error(wanted, flat_output(named(refreshed(model), "head")[0].run(seen)))
        assert (max(note.error for note in notes) > 0) is refit  # it says what is left of each layer's error
    assert 0 < lost[True] < lost[False]


@pytest.mark.parametrize("score", ["magnitude", "energy", "taylor", "cross_modal"])
def test_channels_that_carry_nothing_are_the_ones_that_go(score, fresh, tmp_path):
    model = fresh("llama")
    silent = torch.arange(32) % 2 == 1
    with torch.no_grad():
        layers = model.net.model.layers
        for module in (layer.self_attn.o_proj for layer in layers):
            module.weight[silent] *= 1e-4
        for module in (layer.mlp.down_proj for layer in layers):
            module.weight[silent] *= 1e-4
        model.net.model.embed_tokens.weight[:, silent] *= 1e-4
    kept = model.net.model.embed_tokens.weight[:, ~silent].clone()
    narrow(model, "decoder", tmp_path, hidden=0.5, score=score, refit=False)
    assert torch.equal(model.net.model.embed_tokens.weight, kept)


def test_data_of_other_towers_are_not_asked_for(fresh, tmp_path):
    model = fresh("clip")
    seen = [{"pixel_values": batch["pixel_values"]} for batch in probes(model)]
    method = make("width", {"hidden": 0.5, "multiple": 8})
    notes = list(method.apply_all(named(model, "image"), seen, Aids(model, seen[:2], 0, tmp_path)))
    assert any(note.change for note in notes)
    assert model.net.config.vision_config.hidden_size == 16


def test_hidden_and_inner_widths_go_in_one_step(fresh, tmp_path):
    model = fresh("llama_grouped")
    notes = narrow(model, "decoder", tmp_path, hidden=0.5, neurons=0.5)
    changes = {note.site: note.change for note in notes}
    assert changes["model.layers.0.mlp.down_proj"] == "32 × 64 → 16 × 32"
    assert (model.net.config.hidden_size, model.net.config.intermediate_size) == (16, 32)


def test_a_width_that_towers_share_is_refused_until_all_are_named(fresh, tmp_path):
    with pytest.raises(RecipeError, match="encoder: its hidden width is that of decoder too") as caught:
        narrow(fresh("whisper"), "encoder", tmp_path, hidden=0.5)
    assert caught.value.hint == "name them all: towers: [encoder, decoder]"


@pytest.mark.parametrize(
    ("kind", "names", "said"),
    [("siglip", "image", "what it answers with"), ("resnet", "image", "no setting of the configuration")],
)
def test_towers_whose_width_cannot_change_are_refused(kind, names, said, fresh, tmp_path):
    with pytest.raises(RecipeError, match=said):
        narrow(fresh(kind), names, tmp_path, hidden=0.5)


def test_a_tower_that_is_named_and_cannot_get_narrower_is_refused_beside_one_that_can(fresh):
    model = fresh("siglip")
    recipe = recipe_of([{"method": "width", "hidden": 0.5, "multiple": 8, "towers": ["image", "text"]}])
    with pytest.raises(RecipeError, match="tower image: width: its hidden channels are what it answers with"):
        check_fit(recipe, model)


def test_too_large_a_share_is_refused(fresh, tmp_path):
    with pytest.raises(RecipeError, match="none of the 32 hidden channels"):
        narrow(fresh("llama"), "decoder", tmp_path, hidden=0.99)


def test_too_small_a_share_is_refused(fresh, tmp_path):
    with pytest.raises(RecipeError, match=r"0.05 of 32 hidden channels is none"):
        narrow(fresh("llama"), "decoder", tmp_path, hidden=0.05)


def test_after_layers_of_other_kinds_it_says_that_it_comes_first(fresh, tmp_path):
    model = fresh("llama")
    aids = Aids(model, [], 0, tmp_path)
    list(make("magnitude", {"share": 0.5}).apply(named(model, "decoder")[0], [], aids))
    method = make("width", {"hidden": 0.5, "multiple": 8})
    notes = list(method.apply_all(named(model, "decoder"), probes(model), aids))
    assert {note.skipped for note in notes} == {CHANGED}
    assert model.net.config.hidden_size == 32


def test_what_depends_on_the_width_otherwise_is_left_as_it_is(fresh, tmp_path):
    model = fresh("seedling")  # its positions are sines and cosines of the width
    before = {name: values.clone() for name, values in model.net.state_dict().items()}
    names = " ".join(tower.name for tower in model.towers if tower.blocks)
    notes = narrow(model, names, tmp_path, hidden=0.5)
    assert {note.skipped for note in notes if note.skipped} >= {UNLIKE}
    assert all(torch.equal(values, before[name]) for name, values in model.net.state_dict().items())


def test_fitted_layers_are_the_ridge_solution():
    dice = torch.Generator().manual_seed(0)
    seen, weight = torch.randn(400, 4, generator=dice), torch.randn(3, 4, generator=dice)
    wanted = seen @ torch.randn(4, 3, generator=dice) + 2
    found, bias = refit_to(weight, torch.zeros(3), seen, wanted)
    exact = torch.linalg.lstsq(torch.cat([seen, torch.ones(400, 1)], 1), wanted).solution
    assert torch.allclose(found, exact[:4].T, atol=0.05)
    assert bias is not None
    assert torch.allclose(bias, exact[4], atol=0.05)
    still, _ = refit_to(weight, None, seen, seen @ weight.T)
    assert torch.allclose(still, weight, atol=1e-5)
