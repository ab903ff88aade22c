"""Layers of codes that learn: they begin as what they are, end as codes, and keep zeros where a mask says so."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from engine_rack import bits_of
from penjing.layers.learned import LearnedGrid
from penjing.layers.static import StaticConv, StaticLinear
from penjing.layers.weight_only import IntConv, IntEmbedding, IntLinear, IntTable
from penjing.tensor.grid import quantize

GRIDS = [(4, 32, True), (4, 32, False), (3, 0, True), (3, 32, False), (2, 0, True), (8, 0, False)]


def table(bits: int, group: int, symmetric: bool, width: int = 40) -> IntTable:
    weight = torch.randn(6, width, generator=torch.Generator().manual_seed(bits))
    found = IntTable(6, width, bits, group, symmetric)
    found.store(quantize(weight, bits, group, symmetric=symmetric))
    return found


@pytest.mark.parametrize("grid", GRIDS, ids=str)
@pytest.mark.parametrize("rounds", [True, False])
def test_a_table_that_learned_nothing_is_what_it_was(grid, rounds):
    one = table(*grid)
    before, dense = bits_of(one), one.dense().clone()
    one.learn(rounds)
    assert torch.allclose(one.dense(), dense, atol=1e-6)
    one.settle()
    after = bits_of(one)
    assert after["packed"] == before["packed"]
    assert torch.allclose(one.dense(), dense, atol=1e-6)


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_what_a_table_learned_is_what_its_codes_stand_for(grid):
    one = table(*grid)
    learned = one.learn(True)
    with torch.no_grad():
        learned.latent.add_(0.2 * torch.randn(learned.latent.shape, generator=torch.Generator().manual_seed(1)))
        learned.log_factor.add_(0.1)
        wanted = one.dense().clone()
    one.settle()
    assert torch.allclose(one.dense(), wanted, atol=1e-5)
    assert one.learned is None


def test_scales_alone_leave_codes_as_they_are():
    one = table(4, 32, True)
    packed, scales = one.packed.clone(), one.scales.clone()
    learned = one.learn(False)
    assert [name for name, _ in learned.named_parameters()] == ["log_factor"]
    with torch.no_grad():
        learned.log_factor.fill_(0.5)
    one.settle()
    assert torch.equal(one.packed, packed)
    assert torch.allclose(one.scales, scales * torch.tensor(0.5).exp())


def test_masked_codes_stay_zero():
    mask = torch.rand(6, 40, generator=torch.Generator().manual_seed(2)) > 0.5
    weight = torch.randn(6, 40, generator=torch.Generator().manual_seed(3)) * mask
    one = IntTable(6, 40, 4, 32, False)
    one.store(quantize(weight, 4, 32, symmetric=False))
    learned = one.learn(True, mask)
    with torch.no_grad():
        learned.latent.add_(1.0)
    one.settle()
    assert not bool(one.dense()[~mask].any())
    assert float((one.dense()[mask] != 0).float().mean()) > 0.9


def test_a_head_and_its_table_learn_as_one():
    one = table(4, 32, True)
    head, rows = IntLinear(one, None), IntEmbedding(one, 2.0)
    one.learn(True)
    ids = torch.tensor([[1, 4]])
    assert torch.allclose(rows(ids), 2.0 * one.dense()[ids], atol=1e-6)
    (head(torch.ones(1, 40)).sum() + rows(ids).sum()).backward()
    assert bool((one.learned.latent.grad != 0).any())


def test_a_convolution_learns():
    like = nn.Conv2d(3, 4, 3)
    layer = IntConv(like, 4)
    layer.store(quantize(like.weight.detach().flatten(1), 4, 0, symmetric=False))
    before = layer.weight.detach().clone()
    learned = layer.learn(True)
    assert torch.allclose(layer.weight, before, atol=1e-6)
    with torch.no_grad():
        learned.latent.mul_(0.5)
        wanted = layer.weight.clone()
    layer.settle()
    assert torch.allclose(layer.weight, wanted, atol=1e-6)


@pytest.mark.parametrize("kind", ["linear", "conv"])
def test_int8_layers_learn_scales_and_keep_codes(kind):
    torch.manual_seed(0)
    layer = StaticLinear(8, 4, None) if kind == "linear" else StaticConv(nn.Conv1d(8, 4, 1))
    layer.codes.copy_(torch.randint(-60, 60, layer.codes.shape))
    layer.scales.copy_(0.01 + 0.01 * torch.rand(4))
    layer.input.cover(-2.0, 3.0)
    values = torch.randn(2, 8) if kind == "linear" else torch.randn(2, 8, 5)
    codes, before = layer.codes.clone(), layer(values)
    learned = layer.learn(True)
    assert isinstance(learned, LearnedGrid)
    assert torch.allclose(layer(values), before, atol=1e-5)
    layer(values).square().sum().backward()
    assert learned.log_factor.grad.abs().sum() > 0
    assert layer.input.log_factor.grad.abs() > 0
    with torch.no_grad():
        learned.log_factor.add_(0.3)
        layer.input.log_factor.add_(-0.1)
        wanted = layer(values)
    layer.settle()
    assert torch.allclose(layer(values), wanted, atol=1e-5)
    assert torch.equal(layer.codes, codes)


def test_gradients_pass_a_rounded_input():
    """So that what comes before an int8 layer can learn."""
    layer = StaticLinear(4, 2, None)
    layer.codes.fill_(3)
    layer.input.cover(-1.0, 1.0)
    values = torch.tensor([[0.5, -0.5, 9.0, 0.1]], requires_grad=True)
    layer(values).sum().backward()
    assert values.grad.tolist() == [[6.0, 6.0, 0.0, 6.0]]
