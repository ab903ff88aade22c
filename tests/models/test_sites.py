"""Sites: what may be compressed, what is tied to what, and how a transposed weight is shown."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from penjing.models.tower import Site, find_places, find_sites, is_transposed, site_kind


class Scaled(nn.Embedding):
    embed_scale = 2.0

    def forward(self, ids):
        return super().forward(ids) * self.embed_scale


class Shifted(nn.Embedding):
    def forward(self, ids):
        return super().forward(ids + 2)


class Causal(nn.Conv1d):
    def forward(self, values):
        return super().forward(nn.functional.pad(values, (2, 0)))


class Renamed(nn.Linear):
    """A subclass that computes what its base class computes."""


class Speaker(nn.Module):
    """A table, two layers, a head that reads the table."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(5, 4)
        self.body = nn.Sequential(nn.Linear(4, 3), nn.GELU(), nn.Linear(3, 4))
        self.head = nn.Linear(4, 5, bias=False)
        self.head.weight = self.table.weight

    def forward(self, ids):
        return self.head(self.body(self.table(ids)))


@pytest.mark.parametrize(
    ("module", "kind"),
    [
        (nn.Linear(2, 3), "linear"),
        (Renamed(2, 3), "linear"),
        (Conv1D(3, 2), "linear"),
        (nn.Conv1d(1, 2, 3), "conv"),
        (nn.Conv2d(1, 2, 3), "conv"),
        (nn.Embedding(4, 2), "embedding"),
        (Scaled(4, 2), "embedding"),
        (Shifted(4, 2), "position"),
        (Causal(1, 2, 3), None),
        (nn.LayerNorm(2), None),
        (nn.Conv3d(1, 1, 1), None),
    ],
)
def test_kind_of_site(module, kind):
    assert site_kind(module) == kind


def test_sites_are_named_as_in_the_root_in_module_order():
    net = Speaker()
    assert list(find_sites(net, net)) == ["table", "body.0", "body.2"]
    assert list(find_sites(net, net.body)) == ["body.0", "body.2"]


def test_a_tied_head_belongs_to_its_embedding():
    net = Speaker()
    table = find_sites(net, net)["table"]
    assert [site.name for site in table.tied] == ["head"]
    assert table.tied[0].kind == "linear"
    assert "head" not in find_sites(net, net)


def test_the_embedding_is_the_site_even_if_the_head_comes_first():
    net = nn.Module()
    net.head = nn.Linear(4, 5, bias=False)
    net.table = nn.Embedding(5, 4)
    net.table.weight = net.head.weight
    assert list(find_sites(net, net)) == ["table"]


def test_an_untied_head_is_a_site_of_its_own():
    net = Speaker()
    net.head.weight = nn.Parameter(net.table.weight.detach().clone())
    assert list(find_sites(net, net)) == ["table", "body.0", "body.2", "head"]


def test_a_module_that_stands_at_two_places_is_one_site():
    net = nn.Module()
    net.first = nn.Linear(2, 2)
    net.second = net.first
    (site,) = find_sites(net, net).values()
    assert site.name == "first"
    assert [place.name for place in site.tied] == ["second"]


def test_replace_puts_a_module_where_the_site_is():
    net = Speaker()
    site = find_sites(net, net)["body.2"]
    site.replace(nn.Identity())
    assert isinstance(net.body[2], nn.Identity)
    assert isinstance(site.module, nn.Identity)


def test_attention_of_torch_keeps_its_output_layer():
    net = nn.ModuleDict({"pool": nn.MultiheadAttention(4, 2), "mlp": nn.Linear(4, 4)})
    assert [place.name for place in find_places(net)] == ["mlp"]


def test_conv1d_of_transformers_is_shown_like_a_linear_layer():
    net = nn.ModuleDict({"fc": Conv1D(3, 2)})
    site = find_sites(net, net)["fc"]
    assert is_transposed(site.module)
    assert site.module.weight.shape == (2, 3)
    assert site.weight.shape == (3, 2)
    values = torch.randn(5, 2)
    torch.testing.assert_close(nn.functional.linear(values, site.weight, site.bias), site.module(values))


def test_writing_to_a_transposed_weight_changes_the_layer():
    net = nn.ModuleDict({"fc": Conv1D(3, 2)})
    site = find_sites(net, net)["fc"]
    with torch.no_grad():
        site.weight[2].zero_()
    assert torch.equal(net["fc"].weight[:, 2], torch.zeros(2))


def test_bias_is_none_where_there_is_none():
    net = nn.ModuleDict({"a": nn.Linear(2, 2, bias=False), "b": nn.Linear(2, 2), "c": nn.Embedding(2, 2)})
    sites = find_sites(net, net)
    assert [site.bias is None for site in sites.values()] == [True, False, True]


def test_a_linear_layer_is_not_transposed():
    site = Site("fc", "linear", nn.ModuleDict({"fc": nn.Linear(2, 3)}), "fc")
    assert not is_transposed(site.module)
    assert site.weight is site.module.weight
