"""Layers whose rows have ranges of their own: exact without the rounding, and with it what was computed by hand."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from engine_rack import EXACT, opened, rack, relative_errors
from penjing.artifact.export import export_component
from penjing.layers.dynamic import DynamicConv, DynamicLinear
from penjing.models.reference import TorchGraph
from penjing.runtimes.engine import Engine
from penjing.tensor.grid import quantize_pair_safe

ALMOST_EQUAL = 1e-5
DEPLOYED = {name: Engine(name, 2, cache=False) for name in EXACT}


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def linear(width: int, rows: int, weight: torch.Tensor | None = None) -> DynamicLinear:
    codes, scales = quantize_pair_safe(torch.randn(rows, width) if weight is None else weight)
    layer = DynamicLinear(width, rows, torch.randn(rows) if rows % 2 else None)
    layer.codes.copy_(codes.T)
    layer.scales.copy_(scales)
    return layer


def conv(like: nn.Conv1d | nn.Conv2d) -> DynamicConv:
    layer = DynamicConv(like)
    layer.codes.copy_(torch.randint(-63, 64, layer.codes.shape))
    layer.scales.copy_(torch.rand_like(layer.scales) * 0.02 + 0.01)
    return layer


def full(width: int) -> DynamicLinear:
    """Codes that fill int8 and would saturate 16 bits beside inputs of 8 bits."""
    layer = DynamicLinear(width, 8, None, top=127)
    layer.codes.fill_(127)
    layer.codes[:, 0] = -128
    return layer


def racks() -> dict[str, tuple[dict[str, nn.Module], torch.Tensor, dict[int, str]]]:
    """Layers, an input and its axes that vary."""
    loud = torch.randn(2, 9, 96)
    loud[:, 3] *= 100  # a token far louder than the others, which one range for all would drown
    loud[:, 5] = 0
    loud[0, 4, 7] = 50
    lines = {
        "plain": conv(nn.Conv1d(16, 32, 3, padding=1)),
        "depthwise, no bias": conv(nn.Conv1d(16, 16, 3, groups=16, bias=False)),
        "reflecting": conv(nn.Conv1d(16, 32, 3, padding=1, padding_mode="reflect")),
    }
    return {
        "linear": (
            {"no bias": linear(96, 24), "bias": linear(96, 7), "one sign": linear(96, 8, 1 + torch.rand(8, 96))},
            loud,
            {0: "batch", 1: "tokens"},
        ),
        "codes that fill int8": ({"full": full(96)}, torch.rand(2, 9, 96) + 0.9, {0: "batch", 1: "tokens"}),
        "one row an item": ({"pooled": linear(64, 5)}, torch.randn(3, 64), {0: "batch"}),
        "conv1d": (lines, torch.randn(2, 16, 20) * torch.tensor([1.0, 30.0]).view(2, 1, 1), {0: "batch"}),
        "conv2d": ({"patches": conv(nn.Conv2d(3, 8, 4, stride=4))}, torch.randn(2, 3, 16, 16), {0: "batch"}),
    }


@pytest.mark.parametrize("name", racks())
def test_exact_mode_has_float_activations(name, tmp_path):
    layers, values, axes = racks()[name]
    graphs = opened(rack(layers, values, axes), tmp_path)
    for arrays in (values, values[:1]):
        expected = graphs["torch"]({"values": arrays.numpy()})
        for engine in EXACT:
            errors = relative_errors(graphs[engine]({"values": arrays.numpy()}), expected)
            assert {layer: error for layer, error in errors.items() if not error <= ALMOST_EQUAL} == {}, engine


def rounded(layer: DynamicLinear | DynamicConv, values: torch.Tensor) -> torch.Tensor:
    """Values on the symmetric grid of their row, by arithmetic in float64."""
    axes = tuple(range(1, values.dim())) if isinstance(layer, DynamicConv) else -1
    largest = values.double().abs().amax(axes, keepdim=True).clamp_min(1e-12)
    steps = 127 if layer.input.top == 255 else 63
    return ((values.double() / largest * steps).round() / steps * largest).float()


@pytest.mark.parametrize("name", racks())
def test_a_deployed_engine_rounds_every_row_by_its_own_range(name, tmp_path):
    layers, values, axes = racks()[name]
    component = rack(layers, values, axes)
    path = export_component(component, tmp_path)
    exact = TorchGraph(component)({"values": values.numpy()})
    for engine in DEPLOYED.values():
        outputs = engine.open(path)({"values": values.numpy()})
        for name_of_layer, layer in layers.items():
            with torch.no_grad():
                expected = layer(rounded(layer, values)).numpy()
                by_layer = layer(layer.input(values)).numpy()
            scale = np.abs(exact[name_of_layer]).max(-1, keepdims=True) + 1e-6
            # A value on a tie between two codes may fall either way: few outputs move, and by one step at most.
            for reference in (expected, by_layer):
                moved = np.abs(outputs[name_of_layer] - reference) / scale
                assert (moved > 1e-4).mean() < 0.1, (engine.name, name_of_layer)
                assert moved.max() < 0.05, (engine.name, name_of_layer)
            if name != "codes that fill int8":  # these sum to what seven bits of one sign hide
                assert np.abs(outputs[name_of_layer] - exact[name_of_layer]).max() > 0, (engine.name, name_of_layer)


def test_a_row_is_the_same_whoever_stands_beside_it(tmp_path):
    """One range for the whole tensor would round a quiet token by a loud one's steps."""
    layers, values, axes = {"one": linear(96, 24)}, torch.randn(1, 5, 96), {0: "batch", 1: "tokens"}
    path = export_component(rack(layers, values, axes), tmp_path)
    louder = values.clone()
    louder[:, 2] *= 1000
    for engine in DEPLOYED.values():
        graph = engine.open(path)
        quiet, beside = (graph({"values": arrays.numpy()})["one"] for arrays in (values, louder))
        assert np.allclose(quiet[:, [0, 1, 3, 4]], beside[:, [0, 1, 3, 4]], rtol=0, atol=1e-5), engine.name
        assert np.abs(beside[:, 2]).max() > 100 * np.abs(quiet).max()


def test_products_are_int8_and_only_plain_operators_are_used(tmp_path):
    layers, values, axes = racks()["linear"]
    graph = onnx.load(str(export_component(rack(layers, values, axes), tmp_path))).graph
    assert {node.domain for node in graph.node} == {""}
    makers = {name: node.op_type for node in graph.node for name in node.output}
    products = [node for node in graph.node if node.op_type == "MatMul"]
    assert len(products) == len(layers)
    assert {makers[name] for node in products for name in node.input} == {"DequantizeLinear"}
    assert sum(node.op_type == "QuantizeLinear" for node in graph.node) == 1  # layers of one input round it once
