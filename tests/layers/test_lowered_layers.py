"""What a layer computes in PyTorch is what its exported graph computes, in both engines, optimised, in exact mode."""

from __future__ import annotations

from itertools import product

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from engine_rack import EXACT, Rack, opened, rack, relative_errors
from penjing.artifact.export import export_component
from penjing.layers.half import store_half
from penjing.layers.static import StaticConv, StaticInput, StaticLinear
from penjing.layers.weight_only import IntConv, IntEmbedding, IntLinear, IntTable
from penjing.models.family import Component
from penjing.tensor.grid import quantize, quantize_pair_safe

ALMOST_EQUAL = 1e-5
NEAR_TIE = 1e-3
BITS = (8, 4, 3, 2)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def a_table(rows: int, width: int, bits: int, group: int, symmetric: bool) -> IntTable:
    table = IntTable(rows, width, bits, group, symmetric)
    table.store(quantize(torch.randn(rows, width) + 0.3, bits, group, symmetric=symmetric))
    return table


def check_rack(layers: dict[str, nn.Module], values: torch.Tensor, folder, dynamic=None) -> None:
    """Export once, run on the example and on one item of another length, compare with PyTorch."""
    dynamic = dynamic or {0: "batch", 1: "tokens"}
    graphs = opened(rack(layers, values, dynamic), folder)
    shorter = values[:1, :3] if 1 in dynamic else values[:1]
    for arrays in (values, shorter):
        wanted = graphs["torch"]({"values": arrays.numpy()})
        for name in EXACT:
            errors = relative_errors(graphs[name]({"values": arrays.numpy()}), wanted)
            assert {layer: error for layer, error in errors.items() if not error <= ALMOST_EQUAL} == {}, name


@pytest.mark.parametrize(("width", "groups"), [(7, [0]), (100, [0, 32, 64]), (576, [0, 128])])
def test_linear_layers_of_every_grid(width, groups, tmp_path):
    # Where several widths are tried, one alone sees every grid with and without zero points.
    signs = (True, False) if width == 100 else (width == 7,)
    layers = {
        f"{bits} bits, group {group}, {'symmetric' if symmetric else 'asymmetric'}": IntLinear(
            a_table(10, width, bits, group, symmetric), torch.randn(10) if symmetric else None
        )
        for bits, group, symmetric in product(BITS, groups, signs)
    }
    check_rack(layers, torch.randn(2, 9, width), tmp_path)


def test_embeddings_of_every_grid(tmp_path):
    layers = {
        f"{bits} bits, {width} wide, group {group}": IntEmbedding(
            a_table(20, width, bits, group, symmetric), row_scale=3.0 if group else 1.0
        )
        for bits, width, group, symmetric in (
            (8, 80, 0, True),
            (8, 100, 32, False),
            (4, 128, 128, True),
            (4, 33, 0, False),
            (3, 80, 0, True),
            (2, 100, 32, False),
        )
    }
    check_rack(layers, torch.randint(0, 20, (2, 9)), tmp_path)


def int_conv(like: nn.Conv1d | nn.Conv2d, bits: int, symmetric: bool) -> IntConv:
    layer = IntConv(like, bits)
    layer.store(quantize(like.weight.flatten(1), bits, 0, symmetric=symmetric))
    return layer


def near_tie(values: torch.Tensor, grid: StaticInput) -> torch.Tensor:
    """Where a value lies so near the middle between two codes that engines, dividing their own way, may differ."""
    steps = values / grid.scale
    return (steps - steps.floor() - 0.5).abs() < NEAR_TIE


def off_ties(values: torch.Tensor, layers: dict[str, nn.Module]) -> torch.Tensor:
    """The values, those on a tie of any layer's grid moved off it."""
    while True:
        tied = torch.stack([near_tie(values, layer.input) for layer in layers.values()]).any(0)
        if not tied.any():
            return values
        values = torch.where(tied, values + 0.003 * torch.rand_like(values), values)


def static_conv(like: nn.Conv1d | nn.Conv2d, one_sign: bool) -> StaticConv:
    """Weights of one sign and of full size are the ones that saturate."""
    layer = StaticConv(like)
    layer.codes.copy_(torch.randint(60 if one_sign else -63, 64, layer.codes.shape))
    layer.scales.copy_(torch.rand_like(layer.scales) * 0.02 + 0.01)
    layer.input.cover(0.0, 1.02) if one_sign else layer.input.cover(-4.0, 4.0)
    return layer


CONVS_1D = {
    "plain": {"kernel_size": 3, "padding": 1},
    "strided": {"kernel_size": 3, "stride": 2, "padding": 1, "bias": False},
    "depthwise": {"kernel_size": 3, "groups": 16},
    "reflecting": {"kernel_size": 3, "padding": 1, "padding_mode": "reflect"},
}
CONVS_2D = {
    "patches": {"kernel_size": 4, "stride": 4, "bias": False},
    "grouped": {"kernel_size": 3, "padding": 2, "dilation": 2, "groups": 4},
}


def test_convolutions(tmp_path):
    lines = {
        f"{name}, {bits} bits": int_conv(nn.Conv1d(16, 32, **shape), bits, bits != 4)
        for (name, shape), bits in product(CONVS_1D.items(), (8, 4))
    }
    check_rack(lines, torch.randn(2, 16, 20), tmp_path, {0: "batch"})
    planes = {
        f"{name}, {bits} bits": int_conv(nn.Conv2d(16, 32, **shape), bits, bits != 8)
        for (name, shape), bits in product(CONVS_2D.items(), (8, 3))
    }
    check_rack(planes, torch.randn(2, 16, 12, 12), tmp_path, {0: "batch"})


def test_static_convolutions_never_saturate(tmp_path):
    lines = {
        f"{name}, {'one sign' if one_sign else 'both signs'}": static_conv(nn.Conv1d(16, 32, **shape), one_sign)
        for (name, shape), one_sign in product(CONVS_1D.items(), (True, False))
    }
    check_rack(lines, off_ties(torch.rand(2, 16, 20) * 0.02 + 1.0, lines), tmp_path, {0: "batch"})
    planes = {name: static_conv(nn.Conv2d(16, 32, **shape), True) for name, shape in CONVS_2D.items()}
    check_rack(planes, off_ties(torch.rand(2, 16, 12, 12) * 0.02 + 1.0, planes), tmp_path, {0: "batch"})


def static_linear(width: int, rows: int, weight: torch.Tensor, low: float, high: float) -> StaticLinear:
    codes, scales = quantize_pair_safe(weight)
    layer = StaticLinear(width, rows, torch.randn(rows) if rows % 2 else None)
    layer.codes.copy_(codes.T)
    layer.scales.copy_(scales)
    layer.input.cover(low, high)
    return layer


@pytest.mark.parametrize("width", [7, 576])
def test_static_linear_layers_never_saturate(width, tmp_path):
    full = StaticLinear(width, 8, None, top=127)
    full.codes.fill_(127)
    full.codes[:, 0] = -128
    full.input.cover(0.0, 1.0)
    layers = {
        "both signs": static_linear(width, 24, torch.randn(24, width), -1.0, 1.1),
        "with a bias": static_linear(width, 7, torch.randn(7, width), -1.0, 1.1),
        "one sign": static_linear(width, 8, 1 + 0.01 * torch.rand(8, width), 0.0, 1.05),
        "kept codes that fill int8": full,
    }
    check_rack(layers, off_ties(torch.rand(2, 9, width) * 0.1 + 0.95, layers), tmp_path)


class Deep(nn.Module):
    """Static layers behind one another, with what stands between them in a transformer."""

    def __init__(self) -> None:
        super().__init__()
        self.first = static_linear(32, 64, torch.randn(64, 32), -4.0, 4.0)
        self.second = static_linear(64, 33, torch.randn(33, 64) / 8, -1.0, 30.0)
        self.norm = nn.LayerNorm(33)

    def forward(self, values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        first = self.first(values)
        second = self.second(nn.functional.gelu(first))
        return first, second, self.norm(second)


def test_a_rounding_that_flips_moves_one_step_and_no_more(tmp_path):
    """Engines divide by a scale in their own way, so that a value on a tie may round to the other code. Rows without a
    tie agree strictly in the first layer; a row with one, and everything behind it, moves by a step and no more."""
    values = torch.randn(4, 50, 32)
    deep = Deep().eval()
    graphs = opened(Component("deep", deep, {"values": values}, ("first", "second", "normed")), tmp_path)
    wanted = graphs["torch"]({"values": values.numpy()})
    clear = ~near_tie(values, deep.first.input).any(-1).numpy()
    assert clear.mean() > 0.9
    for name in EXACT:
        found = graphs[name]({"values": values.numpy()})
        moved = {output: np.abs(found[output] - wanted[output]).max(-1) for output in wanted}
        assert moved["first"][clear].max() <= ALMOST_EQUAL * np.abs(wanted["first"]).max(), name
        for output, layer in (("first", deep.first), ("second", deep.second)):
            step = float(layer.input.scale * layer.weight.abs().max())
            assert (moved[output] > step / 100).mean() < 0.05, (name, output)  # few rows see a flip at all
            assert moved[output].max() <= 3 * step, (name, output)
        assert np.abs(found["normed"] - wanted["normed"]).mean() < 1e-3, name


class Tied(nn.Module):
    """Words in, words out, one table."""

    def __init__(self, table: IntTable) -> None:
        super().__init__()
        self.embed, self.head = IntEmbedding(table), IntLinear(table, None)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.head(torch.tanh(self.embed(ids)))


@pytest.mark.parametrize(("bits", "group", "symmetric"), [(8, 0, True), (4, 32, False)])
def test_a_table_read_twice_is_on_disk_once(bits, group, symmetric, tmp_path):
    table = a_table(2000, 64, bits, group, symmetric)
    ids = torch.randint(0, 2000, (2, 9))
    axes = {"values": {0: "batch", 1: "tokens"}}
    component = Component("tied", Tied(table).eval(), {"values": ids}, ("logits",), axes)
    graphs = opened(component, tmp_path)
    wanted = graphs["torch"]({"values": ids.numpy()})
    for name in EXACT:
        assert relative_errors(graphs[name]({"values": ids.numpy()}), wanted)["logits"] <= ALMOST_EQUAL
    path = tmp_path / "tied.onnx"
    assert table.size_bytes <= path.stat().st_size <= table.size_bytes + 6000
    large = [part for part in onnx.load(str(path)).graph.initializer if len(part.raw_data) > 1000]
    assert sum(len(part.raw_data) for part in large) == table.size_bytes


def test_a_half_table_is_stored_in_two_bytes_and_read_in_four(tmp_path):
    embedding = nn.Embedding(500, 64)
    store_half(embedding)
    ids = torch.randint(0, 500, (2, 9))
    component = Component("half", Rack({"rows": embedding}).eval(), {"values": ids}, ("rows",), {})
    graphs = opened(component, tmp_path)
    for name in EXACT:
        assert np.array_equal(graphs[name]({"values": ids.numpy()})["rows"], embedding.weight[ids].detach().numpy())
    assert (tmp_path / "half.onnx").stat().st_size < 2 * 500 * 64 + 2000


def test_the_codes_on_disk_are_the_codes_that_were_chosen(tmp_path):
    table = a_table(16, 64, 4, 32, True)
    component = rack({"y": IntLinear(table, None)}, torch.randn(2, 3, 64), {0: "batch"})
    graph = onnx.load(str(export_component(component, tmp_path)))
    (node,) = [node for node in graph.graph.node if node.op_type == "MatMulNBits"]
    stored = {part.name: onnx.numpy_helper.to_array(part) for part in graph.graph.initializer}
    assert np.array_equal(stored[node.input[1]], table.packed.numpy())
    assert np.array_equal(stored[node.input[2]], table.scales.numpy())
