"""Layers of integer codes compute what their dense weights would, and count their bytes."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from penjing.layers.weight_only import (
    IntConv,
    IntEmbedding,
    IntLinear,
    IntTable,
    block_of,
    floats_of_one_layer,
    release_floats,
)
from penjing.tensor.grid import quantize

CASES = [(8, 0, True), (8, 32, False), (4, 0, True), (4, 64, False), (3, 32, True), (3, 0, False), (2, 32, True)]


def a_table(bits: int, group: int, symmetric: bool, rows: int = 12, width: int = 80) -> tuple[IntTable, torch.Tensor]:
    """A table of random weights, and the weights its codes stand for."""
    weight = torch.randn(rows, width, generator=torch.Generator().manual_seed(width)) + 0.2
    codes = quantize(weight, bits, group, symmetric=symmetric)
    table = IntTable(rows, width, bits, group, symmetric)
    table.store(codes)
    return table, codes.dequantize(width)


@pytest.mark.parametrize(("bits", "group", "symmetric"), CASES)
@pytest.mark.parametrize("width", [33, 80, 128])
def test_a_table_stands_for_the_weights_its_codes_stand_for(bits, group, symmetric, width):
    table, dense = a_table(bits, group, symmetric, width=width)
    assert torch.equal(table.dense(), dense)


@pytest.mark.parametrize(("bits", "group", "symmetric"), CASES)
def test_a_linear_layer_is_a_product_with_them(bits, group, symmetric):
    table, dense = a_table(bits, group, symmetric)
    bias = torch.randn(12)
    values = torch.randn(2, 5, 80)
    layer = IntLinear(table, bias)
    assert (layer.in_features, layer.out_features) == (80, 12)
    assert torch.equal(layer(values), nn.functional.linear(values, dense, bias))
    assert torch.equal(IntLinear(table, None)(values), nn.functional.linear(values, dense))


@pytest.mark.parametrize(("bits", "group", "symmetric"), CASES)
def test_an_embedding_looks_its_rows_up(bits, group, symmetric):
    table, dense = a_table(bits, group, symmetric)
    ids = torch.tensor([[0, 3, 11], [11, 11, 5]])
    layer = IntEmbedding(table, row_scale=2.5, padding_idx=0)
    assert torch.allclose(layer(ids), dense[ids] * 2.5, rtol=1e-6, atol=1e-7)
    assert (layer.num_embeddings, layer.embedding_dim, layer.padding_idx) == (12, 80, 0)


@pytest.mark.parametrize("symmetric", [True, False], ids=["symmetric", "asymmetric"])
@pytest.mark.parametrize("bits", [8, 4, 3, 2])
@pytest.mark.parametrize(
    "like",
    [
        nn.Conv1d(6, 8, 3, stride=2, padding=1, bias=False),
        nn.Conv2d(4, 8, 3, padding="same", dilation=2, groups=2),
        nn.Conv1d(6, 8, 3, padding=2, padding_mode="reflect"),
    ],
    ids=["strided", "grouped", "reflecting"],
)
def test_a_convolution_slides_as_the_original_did(like, bits, symmetric):
    layer = IntConv(like, bits)
    layer.store(quantize(like.weight.flatten(1), bits, 0, symmetric=symmetric))
    values = torch.randn(2, like.in_channels, *[16] * (like.weight.dim() - 2))
    dense = quantize(like.weight.flatten(1), bits, 0, symmetric=symmetric).dequantize(like.weight[0].numel())
    with torch.no_grad():
        before = like.weight.clone()
        like.weight.copy_(dense.reshape(like.weight.shape))
        wanted = like(values)
        like.weight.copy_(before)
    assert torch.allclose(layer(values), wanted, atol=1e-6)


@pytest.mark.parametrize(("bits", "group", "symmetric"), CASES)
def test_size_bytes_counts_what_is_stored(bits, group, symmetric):
    table, _ = a_table(bits, group, symmetric)
    stored = sum(tensor.numel() * tensor.element_size() for tensor in table.state_dict().values())
    assert table.size_bytes == stored
    convolution = IntConv(nn.Conv1d(6, 8, 3), bits)
    parts = {name: part for name, part in convolution.state_dict().items() if name != "bias"}
    assert convolution.size_bytes == sum(part.numel() * part.element_size() for part in parts.values())


def test_new_codes_replace_the_dense_copy():
    table, dense = a_table(4, 32, True)
    other, other_dense = a_table(4, 32, True)
    other.store(quantize(dense.flip(0), 4, 32))
    assert torch.equal(table.dense(), dense)
    table.load_state_dict(other.state_dict())
    assert torch.equal(table.dense(), other.dense())
    table.store(quantize(dense.flip(1), 4, 32))
    assert not torch.equal(table.dense(), other_dense)


@pytest.mark.parametrize(
    ("width", "group", "block"), [(80, 0, 16), (96, 0, 32), (576, 0, 64), (1024, 0, 128), (7, 0, 16), (100, 64, 64)]
)
def test_a_channel_is_cut_into_blocks_that_engines_read(width, group, block):
    assert block_of(width, group) == block


def test_one_layer_at_a_time_holds_its_floats():
    first, second = (IntLinear(a_table(4, 32, True, rows=80)[0], None) for _ in range(2))
    net = nn.Sequential(first, second)
    values: torch.Tensor = torch.ones(2, 80)
    held: list[torch.Tensor | None] = []
    second.register_forward_pre_hook(lambda layer, inputs: held.append(first.table._dense))
    with floats_of_one_layer(net):
        apart = net(values)
    assert held == [None]
    assert second.table._dense is None
    assert torch.equal(net(values), apart)
    assert first.table._dense is not None  # kept again, for what generates tokens
    release_floats(net)
    assert first.table._dense is second.table._dense is None
