"""Layers with int8 weights and uint8 inputs compute plain rounded products."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from penjing.layers.static import StaticConv, StaticInput, StaticLinear
from penjing.tensor.grid import quantize_pair_safe


def a_linear(width: int, rows: int, top: int = 255, bias: bool = True) -> StaticLinear:
    source = torch.Generator().manual_seed(width)
    codes, scales = quantize_pair_safe(torch.randn(rows, width, generator=source))
    layer = StaticLinear(width, rows, torch.randn(rows, generator=source) if bias else None, top)
    layer.codes.copy_(codes.T)
    layer.scales.copy_(scales)
    layer.input.cover(-2.0, 3.0)
    return layer


def whole_numbers(values: torch.Tensor, grid: StaticInput) -> torch.Tensor:
    """Codes of an input less their zero, in whole numbers."""
    zero = int(grid.zero)
    return ((values / grid.scale).round() + zero).clamp(0, grid.top).long() - zero


@pytest.mark.parametrize("top", [127, 255])
@pytest.mark.parametrize("bias", [True, False])
def test_a_linear_layer_is_a_product_of_whole_numbers(bias, top):
    layer = a_linear(33, 9, top, bias)
    values = torch.randn(2, 7, 33) * 2
    whole = whole_numbers(values, layer.input) @ layer.codes.long()
    wanted = whole.double() * layer.input.scale.double() * layer.scales.double()
    wanted = wanted if layer.bias is None else wanted + layer.bias
    assert torch.allclose(layer(values).double(), wanted, rtol=1e-4, atol=1e-4)


def test_inputs_of_seven_bits_stay_within_seven_bits():
    layer = a_linear(8, 4, 127)
    assert whole_numbers(torch.linspace(-100, 100, 64), layer.input).add(int(layer.input.zero)).unique().max() == 127
    assert float(layer.input(torch.tensor(100.0))) == pytest.approx(3.0, abs=float(layer.input.scale))


@pytest.mark.parametrize(
    "like",
    [
        nn.Conv1d(6, 8, 3, stride=2, padding=1, bias=False),
        nn.Conv2d(4, 8, 3, padding="same", dilation=2, groups=2),
        nn.Conv2d(4, 8, 3, padding=1, padding_mode="circular"),
    ],
    ids=["strided", "grouped", "circular"],
)
def test_a_convolution_slides_as_the_original_did(like):
    layer = StaticConv(like)
    layer.scales.copy_(like.weight.detach().abs().flatten(1).amax(1) / 63)
    layer.codes.copy_((like.weight / layer.scales.view(-1, *[1] * (like.weight.dim() - 1))).round())
    layer.input.cover(-4.0, 4.0)
    values = torch.randn(2, like.in_channels, *[16] * (like.weight.dim() - 2))
    with torch.no_grad():
        like.weight.copy_(layer.weight)
        wanted = like(layer.input(values))
    assert torch.allclose(layer(values), wanted, atol=1e-6)


def test_size_bytes_counts_what_is_stored():
    for layer in (a_linear(33, 9), StaticConv(nn.Conv1d(6, 8, 3))):
        stored = {name: tensor for name, tensor in layer.state_dict().items() if name != "bias"}
        assert layer.size_bytes == sum(tensor.numel() * tensor.element_size() for tensor in stored.values())
