"""Narrower layers: what goes is the least, what stays takes over, settings and files say so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from penjing.errors import RecipeError
from penjing.methods import Aids, make
from penjing.methods.width import UNCACHED, UNSAID
from penjing.models.family import Model
from penjing.models.open import refreshed
from penjing.models.outputs import flat_output
from penjing.models.tower import Batch
from penjing.tensor.grid import relative_error
from penjing.values import Note


def probes(model: Model, count: int = 6) -> list[Batch]:
    return [model.family.probe(model.net, seed) for seed in range(count)]


def narrow(model: Model, names: tuple[str, ...], scratch: Path, **settings: Any) -> list[Note]:
    """Apply to the towers of these names."""
    method = make("width", {"multiple": 8, **settings})
    targets = [tower for tower in model.towers if tower.name in names]
    method.refuse(model, targets)
    return list(method.apply_all(targets, probes(model), Aids(model, probes(model, 2), 0, scratch)))


@pytest.mark.parametrize("score", ["magnitude", "energy", "taylor", "cross_modal"])
def test_units_that_do_nothing_are_the_ones_that_go(score, fresh, tmp_path):
    model = fresh("clip")
    silenced = torch.arange(64) % 2 == 1
    with torch.no_grad():
        for layer in model.net.vision_model.encoder.layers:
            for values in (layer.mlp.fc1.weight, layer.mlp.fc1.bias):
                values[silenced] *= 1e-4
            layer.mlp.fc2.weight[:, silenced] *= 1e-4
        image = next(tower for tower in model.towers if tower.name == "image")
        before = flat_output(image.run(probes(model)[0]))
        notes = narrow(model, ("image",), tmp_path, neurons=0.5, score=score, refit=False)
        after = flat_output(image.run(probes(model)[0]))
    assert relative_error(before, after) < 1e-3
    changes = {note.site.rpartition(".")[2]: note.change for note in notes if not note.skipped}
    assert changes == {"fc1": "64 × 32 → 32 × 32", "fc2": "32 × 64 → 32 × 32"}
    assert model.net.config.vision_config.intermediate_size == 32
    assert model.net.config.text_config.intermediate_size == 64
    assert all(note.size_bytes == 4 * 32 * 32 for note in notes if not note.skipped)


def test_what_stays_takes_over(fresh, tmp_path):
    errors = {}
    for refit in (False, True):
        model = fresh("llama")
        notes = narrow(model, ("decoder",), tmp_path, neurons=0.5, refit=refit)
        errors[refit] = max(note.error for note in notes)
    assert 0 < errors[True] < 0.8 * errors[False]


def test_what_is_masked_takes_nothing_over(fresh, tmp_path):
    model = fresh("llama")
    decoder = next(tower for tower in model.towers if tower.name == "decoder")
    list(make("magnitude", {"share": 0.5}).apply(decoder, [], Aids(model, [], 0, tmp_path)))
    narrow(model, ("decoder",), tmp_path, neurons=0.5)
    for layer in model.net.model.layers:
        reader = layer.mlp.down_proj
        assert reader.weight.shape == reader.mask.shape == (32, 32)
        assert not bool(reader.weight[~reader.mask].any())  # a graph holds the weight itself
        assert bool(reader.weight[reader.mask].any())


def test_heads_go_with_the_key_heads_they_share_and_settings_say_so(fresh, tmp_path):
    model = fresh("llama_grouped")
    notes = narrow(model, ("decoder",), tmp_path, heads=0.5)
    changed = {note.site.rpartition(".")[2]: note.change for note in notes if not note.skipped}
    assert changed == {"q_proj": "32 × 32 → 16 × 32", "k_proj": "16 × 32 → 8 × 32", "v_proj": "16 × 32 → 8 × 32",
                       "o_proj": "32 × 32 → 32 × 16"}  # fmt: skip
    config = model.net.config
    assert (config.num_attention_heads, config.num_key_value_heads, config.head_dim) == (2, 1, 8)
    assert not any(note.remark for note in notes)


def test_heads_that_no_setting_says_are_told_of(fresh, tmp_path):
    model = fresh("clip")
    notes = [note for note in narrow(model, ("image",), tmp_path, heads=0.5, neurons=0.5) if not note.skipped]
    said = {note.site.rpartition(".")[2]: note.remark for note in notes}
    assert said == {"q_proj": UNSAID, "k_proj": UNSAID, "v_proj": UNSAID, "out_proj": UNSAID, "fc1": "", "fc2": ""}


def test_heads_that_a_cache_is_made_for_are_left(fresh, tmp_path):
    notes = narrow(fresh("gpt2"), ("decoder",), tmp_path, heads=0.5, neurons=0.25)
    left = {note.site.partition(".attn.")[2] for note in notes if note.skipped == UNCACHED}
    assert left == {"c_attn", "c_proj"}
    assert {note.change for note in notes if note.site.endswith("c_fc")} == {"128 × 32 → 96 × 32"}


def test_uneven_widths_keep_as_many_in_all(fresh, tmp_path):
    model = fresh("clip")
    with torch.no_grad():
        model.net.vision_model.encoder.layers[0].mlp.fc2.weight *= 0.01
    notes = narrow(model, ("image",), tmp_path, neurons=0.5, uneven=True, score="cross_modal")
    first, second = (model.net.vision_model.encoder.layers[place].mlp.fc1.out_features for place in (0, 1))
    assert first < second
    assert first + second == 64
    assert model.net.config.vision_config.intermediate_size == second  # a setting may say more than a layer has
    said = {note.site.split(".")[3]: note.remark for note in notes if not note.skipped}
    assert said == {"0": UNSAID, "1": ""}


def test_a_part_beside_the_blocks_goes_along_where_one_setting_gives_both_widths(fresh, tmp_path):
    """The pooling head of SigLIP is as wide as its blocks by the same setting; plain transformers opens the result."""
    from transformers import SiglipModel

    model = fresh("siglip")
    notes = {note.site: note for note in narrow(model, ("image",), tmp_path, neurons=0.5) if not note.skipped}
    head = [name for name in notes if ".head." in name]
    assert head == ["vision_model.head.mlp.fc1", "vision_model.head.mlp.fc2"]
    assert {note.change for note in notes.values()} == {"64 × 32 → 32 × 32", "32 × 64 → 32 × 32"}
    assert not any(note.remark for note in notes.values())
    assert notes[head[1]].error > 0, "it is refit, too"
    assert (model.net.config.vision_config.intermediate_size, model.net.config.text_config.intermediate_size) == (
        32,
        64,
    )
    model.net.save_pretrained(tmp_path / "plain")
    again = SiglipModel.from_pretrained(tmp_path / "plain").eval()
    probe = model.family.probe(model.net, 3)
    with torch.no_grad():
        assert torch.equal(
            again.get_image_features(pixel_values=probe["pixel_values"]).pooler_output,
            model.net.get_image_features(pixel_values=probe["pixel_values"]).pooler_output,
        )


@pytest.mark.parametrize("settings", [{"uneven": True, "score": "cross_modal"}, {"sites": ("*.layers.*",)}])
def test_a_part_beside_the_blocks_stays_where_no_setting_would_say_it_all_or_it_is_not_named(settings, fresh, tmp_path):
    model = fresh("siglip")
    notes = narrow(model, ("image",), tmp_path, neurons=0.5, **settings)
    assert not [note for note in notes if ".head." in note.site and note.change]
    assert model.net.vision_model.head.mlp.fc1.out_features == 64


def test_a_convolution_loses_channels_with_the_norm_between(fresh, tmp_path):
    model = fresh("resnet")
    notes = narrow(model, ("image",), tmp_path, channels=0.5, multiple=2)
    assert any(note.change == "4 × 4 × 3 × 3 → 2 × 2 × 3 × 3" for note in notes)
    tower = next(tower for tower in model.towers if tower.name == "image")
    assert bool(torch.isfinite(flat_output(tower.run(probes(model)[0]))).all())


def test_convolutions_before_the_blocks_hand_on_fewer_channels_and_a_list_of_settings_says_so(fresh, tmp_path):
    model = fresh("seedling")
    bands = model.net.config.num_mel_bins
    notes = narrow(model, ("audio",), tmp_path, channels=0.5, multiple=2)
    changed = {note.site: note.change for note in notes if note.change}
    assert [*changed] == ["audio.convs.0", "audio.convs.1", "audio.convs.2", "audio.project"]
    assert not any(note.remark for note in notes)
    config = refreshed(model).net.config
    assert (config.ear_channels, config.stem_channels) == ([4, 4, 4], [8, 16, 32])
    assert config.num_mel_bins == bands  # half of it would explain the projection as well


@torch.no_grad()
def test_channels_go_in_the_groups_that_a_norm_takes_together(fresh, tmp_path):
    model = fresh("seedling")
    stem, batch = model.net.image.stem, probes(model)[0]
    for unit in stem:  # groups 4 to 7 of every norm see and say nothing
        some = len(unit.norm.bias) // 2
        unit.conv.weight[some:], unit.norm.bias[some:] = 0, 0
    before = model.net.see(batch["pixel_values"]).tokens
    notes = narrow(model, ("image",), tmp_path, channels=0.5, multiple=2, refit=False)
    assert [(unit.norm.num_groups, unit.norm.num_channels) for unit in stem] == [(4, 4), (4, 8), (4, 8), (4, 16)]
    assert UNSAID in {note.remark for note in notes if note.change}
    torch.testing.assert_close(model.net.see(batch["pixel_values"]).tokens, before)


def test_no_more_groups_go_than_there_are(fresh, tmp_path):
    with pytest.raises(RecipeError, match=r"stem.1.conv: width would leave 0 of its 8 channels"):
        narrow(fresh("seedling"), ("image",), tmp_path, channels=0.95)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"neurons": 0.95}, "fc2: width would leave"),
        ({"heads": 0.9}, "out_proj: width would leave 0 of its 2 heads"),
        ({}, "width takes nothing away"),
    ],
)
def test_too_much_is_refused_before_any_work(settings, said, fresh, tmp_path):
    with pytest.raises(RecipeError, match=said):
        narrow(fresh("clip"), ("image",), tmp_path, **settings)


def test_a_share_is_a_share():
    with pytest.raises(RecipeError, match="neurons: input should be less than 1"):
        make("width", {"neurons": 1.0})
