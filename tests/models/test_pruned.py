"""What torch.nn.utils.prune has pruned is taken over, masks and all: in memory, and from a checkpoint saved so."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from penjing.layers.bitmap import masked_layers
from penjing.layers.masked import mask_of
from penjing.models.capture import call
from penjing.models.open import model_of, open_model
from penjing.models.outputs import flat_output
from penjing.models.pruned import adopt_masks
from penjing.models.tower import is_transposed, site_kind


def prune_all(net: nn.Module) -> list[str]:
    """Prune every linear layer and convolution but an output head; returns their names."""
    head = net.get_output_embeddings() if hasattr(net, "get_output_embeddings") else None
    found = [(name, part) for name, part in net.named_modules() if site_kind(part) in ("linear", "conv")]
    chosen = [(name, part) for name, part in found if part is not head]
    for place, (_, part) in enumerate(chosen):
        prune.random_unstructured(part, "weight", 0.1 + 0.8 * place / len(chosen))
    return [name for name, _ in chosen]


@pytest.mark.parametrize("kind", ["clip", "llama_tied", "gpt2", "resnet"])
def test_masks_are_read_and_the_network_answers_the_same(kind, fresh):
    model = fresh(kind)
    sites = {tower.name: [*tower.sites] for tower in model.towers}
    names = prune_all(model.net)
    pruned = {name: model.net.get_submodule(name) for name in names}
    masks = {name: part.weight_mask.t() if is_transposed(part) else part.weight_mask for name, part in pruned.items()}
    probe = model.family.probe(model.net, 0)
    with torch.no_grad():
        wanted = flat_output(call(model.net, probe))
    taken = model_of(model.net, kind, model.folder, model.source)
    found = masked_layers(taken.net)
    assert [*found] == names
    for name, layer in found.items():
        assert torch.equal(mask_of(layer), masks[name].bool())
    assert {tower.name: [*tower.sites] for tower in taken.towers} == sites
    with torch.no_grad():
        assert torch.allclose(flat_output(call(taken.net, probe)), wanted, atol=1e-6)
    assert not [part for part in taken.net.modules() if prune.is_pruned(part)]


@pytest.mark.parametrize("kind", ["clip", "llama_tied", "gpt2"])
def test_a_checkpoint_saved_while_pruned_opens_with_its_masks(kind, fresh, tmp_path):
    model = fresh(kind)
    names = prune_all(model.net)
    probe = model.family.probe(model.net, 0)
    with torch.no_grad():
        wanted = flat_output(call(model.net, probe))
    model.net.save_pretrained(tmp_path)
    opened = open_model(str(tmp_path))
    assert [*masked_layers(opened.net)] == names
    assert opened.source["unused_weights"] == []
    with torch.no_grad():
        assert torch.allclose(flat_output(call(opened.net, probe)), wanted, atol=1e-6)


def test_what_has_no_masked_layer_keeps_its_zeros():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Embedding(10, 8), nn.LayerNorm(8), nn.Linear(8, 4), nn.Linear(4, 4))
    for part, name in ((net[0], "weight"), (net[1], "weight"), (net[2], "bias"), (net[3], "weight"), (net[3], "bias")):
        prune.random_unstructured(part, name, 0.5)
    wanted = net(torch.arange(10))
    adopt_masks(net)
    assert torch.equal(net(torch.arange(10)), wanted)
    assert [*masked_layers(net)] == ["3"]
    assert not prune.is_pruned(net)
    assert int((net[0].weight == 0).sum()) == 40
    assert int((net[3].bias == 0).sum()) == 2


def test_a_network_that_is_not_pruned_stays_as_it_is():
    net = nn.Sequential(nn.Linear(4, 4))
    before = net[0]
    adopt_masks(net)
    assert net[0] is before


def test_a_tied_head_is_masked_and_its_table_is_not(fresh):
    model = fresh("llama_tied")
    table = model.net.model.embed_tokens.weight.detach().clone()
    prune.l1_unstructured(model.net.lm_head, "weight", 0.5)
    adopt_masks(model.net)
    assert torch.equal(model.net.model.embed_tokens.weight, table)
    assert int((model.net.lm_head.weight == 0).sum()) == table.numel() // 2
