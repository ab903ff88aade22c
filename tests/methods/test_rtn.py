"""Round to nearest on whole models: every grid, what it skips, what is tied."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from penjing.errors import RecipeError
from penjing.layers.static import StaticLinear
from penjing.layers.weight_only import IntConv, IntEmbedding, IntLinear, IntTable
from penjing.methods import Aids, make
from penjing.models.family import Model
from penjing.models.tower import Site, Tower
from penjing.tensor.grid import quantize
from penjing.values import Note


def compress(model: Model, tmp_path, **settings) -> list[Note]:
    method = make("rtn", settings)
    aids = Aids(model, [], 0, tmp_path)
    return [note for tower in model.towers if tower.role in method.roles for note in method.run(tower, [], aids)]


def site_of(model: Model, name: str):
    return next(tower.sites[name] for tower in model.towers if name in tower.sites)


@pytest.mark.parametrize("method", ["rtn", "hqq"])
def test_no_float_copy_of_the_codes_is_kept(method, fresh, tmp_path):
    model = fresh("llama")
    for tower in model.towers:
        make(method, {}).run(tower, [], Aids(model, [], 0, tmp_path))
    tables = [module for module in model.net.modules() if isinstance(module, IntTable)]
    assert tables
    sites = [site for tower in model.towers for site in tower.sites.values()]
    counts = [site.weight_count for site in sites]
    assert all(table._dense is None for table in tables)
    assert counts == [site.weight.numel() for site in sites]


@pytest.mark.parametrize("symmetric", [True, False], ids=["symmetric", "asymmetric"])
@pytest.mark.parametrize(("bits", "group"), [(8, 0), (4, 32), (3, 0), (2, 32)])
def test_the_weights_become_what_the_grid_says(bits, group, symmetric, fresh, tmp_path):
    model = fresh("llama")
    before = {name: site.weight.clone() for tower in model.towers for name, site in tower.sites.items()}
    for note in compress(model, tmp_path, bits=bits, group=group, symmetric=symmetric, clip=False):
        assert not note.skipped
        weight = before[note.site]
        wanted = quantize(weight, bits, group, symmetric=symmetric).dequantize(weight.shape[1])
        assert torch.equal(site_of(model, note.site).weight, wanted)
        assert note.error == pytest.approx(float((weight - wanted).norm() / weight.norm()), rel=1e-4)


@pytest.mark.parametrize("bits", [4, 2])
def test_clipping_helps_or_does_nothing(bits, fresh, tmp_path):
    plain = compress(fresh("clip"), tmp_path, bits=bits, clip=False)
    clipped = compress(fresh("clip"), tmp_path, bits=bits, clip=True)
    for before, after in zip(plain, clipped, strict=True):
        assert after.error <= before.error * (1 + 1e-5)
    assert sum(note.error for note in clipped) < sum(note.error for note in plain)


def test_fewer_bits_fewer_bytes_more_error(fresh, tmp_path):
    totals = []
    for bits in (8, 4, 2):
        notes = compress(fresh("llama"), tmp_path, bits=bits)
        totals.append((sum(note.size_bytes for note in notes), -sum(note.error for note in notes)))
    assert totals == sorted(totals, reverse=True)


def test_a_head_tied_to_its_embedding_reads_the_same_table(fresh, tmp_path):
    model = fresh("llama_tied")
    before = model.net.lm_head.weight.clone()
    notes = compress(model, tmp_path)
    embedding, head = model.net.model.embed_tokens, model.net.lm_head
    assert isinstance(embedding, IntEmbedding)
    assert isinstance(head, IntLinear)
    assert embedding.table is head.table
    assert sum("lm_head" in note.site for note in notes) == 0
    assert float((head.weight - before).norm() / before.norm()) < 0.01


def test_an_untied_head_stays_float_unless_it_is_named(fresh, tmp_path):
    model = fresh("llama")
    compress(model, tmp_path)
    assert isinstance(model.net.lm_head, nn.Linear)
    (head,) = [tower for tower in model.towers if tower.role == "head"]
    notes = make("rtn", {}).run(head, [], Aids(model, [], 0, tmp_path))
    assert [note.skipped for note in notes] == [""]
    assert isinstance(model.net.lm_head, IntLinear)


def test_position_tables_stay(fresh, tmp_path):
    model = fresh("clip")
    compress(model, tmp_path)
    assert isinstance(model.net.text_model.embeddings.position_embedding, nn.Embedding)
    assert isinstance(model.net.text_model.embeddings.token_embedding, IntEmbedding)
    assert isinstance(model.net.vision_model.embeddings.patch_embedding, IntConv)


def test_a_transposed_linear_layer_is_turned(fresh, tmp_path):
    model = fresh("gpt2")
    place = model.net.transformer.h[0].mlp.c_fc
    values, wanted = torch.randn(3, 32), None
    with torch.no_grad():
        wanted = place(values)
        compress(model, tmp_path)
        found = model.net.transformer.h[0].mlp.c_fc(values)
    assert isinstance(model.net.transformer.h[0].mlp.c_fc, IntLinear)
    assert float((found - wanted).norm() / wanted.norm()) < 0.02


def test_what_it_skips_it_says(fresh, tmp_path):
    model = fresh("whisper")
    grouped = {note.site: note.skipped for note in compress(model, tmp_path, bits=4, group=64)}
    assert "one scale per channel" in grouped["model.encoder.conv1"]
    assert "32 inputs are fewer than one group of 64" in grouped["model.encoder.layers.0.fc1"]
    assert grouped["model.encoder.layers.0.fc2"] == ""
    again = {note.site: note.skipped for note in compress(model, tmp_path)}
    assert again["model.encoder.layers.0.fc2"] == "already integer codes from an earlier step"
    assert again["model.encoder.conv1"] == ""


def test_static_codes_are_not_rounded_again(fresh, tmp_path):
    net = nn.Sequential(StaticLinear(8, 8, None))
    before = net[0]
    tower = Tower("toy", "encoder", "text", net, net, (), {"0": Site("0", "linear", net, "0")})
    (note,) = make("rtn", {}).run(tower, [], Aids(fresh("clip"), [], 0, tmp_path))
    assert "already integer codes" in note.skipped
    assert net[0] is before


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"bits": 5}, "bits"),
        ({"group": 48}, "group"),
        ({"bitz": 4}, "no setting 'bitz'"),
        ({"symmetric": "perhaps"}, "symmetric"),
    ],
)
def test_settings_that_make_no_sense(settings, message):
    with pytest.raises(RecipeError, match=message) as caught:
        make("rtn", settings)
    assert caught.value.hint
    assert "\n" not in caught.value.message


def test_a_mistyped_method_is_told_the_nearest():
    with pytest.raises(RecipeError, match="no method called 'rnt'") as caught:
        make("rnt", {})
    assert caught.value.hint == "did you mean 'rtn'?"


def test_a_mistyped_setting_is_told_the_nearest():
    with pytest.raises(RecipeError) as caught:
        make("static_int8", {"max_eror": 0.2})
    assert caught.value.hint == "did you mean 'max_error'?"
