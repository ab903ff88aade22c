"""Int8 products as convolutions: the same numbers, on chips with VNNI and without."""

from __future__ import annotations

import numpy as np
import openvino
import pytest
import torch
from torch import nn

from engine_rack import EXACT, rack
from penjing.artifact.export import export_component
from penjing.layers.static import StaticLinear
from penjing.runtimes import engine
from penjing.runtimes.openvino_products import products_as_convolutions
from penjing.tensor.grid import quantize_pair_safe

WIDTH, OUT = 48, 32


def static(seed: int, *, bias: bool) -> StaticLinear:
    torch.manual_seed(seed)
    codes, scales = quantize_pair_safe(torch.randn(OUT, WIDTH))
    layer = StaticLinear(WIDTH, OUT, torch.randn(OUT) if bias else None)
    layer.codes.copy_(codes.T)
    layer.scales.copy_(scales)
    layer.input.cover(-3.0, 4.0)
    return layer


LAYERS = {
    "plain": static(0, bias=False),
    "biased": static(1, bias=True),
    "twice": nn.Sequential(static(2, bias=True), nn.ReLU(), nn.Linear(OUT, WIDTH), static(3, bias=False)),
    "float": nn.Linear(WIDTH, OUT),
}


@pytest.fixture(params=[{0: "batch"}, {0: "batch", 1: "tokens"}], ids=["rows open", "rows and tokens open"])
def graph(request, tmp_path):
    return export_component(rack(LAYERS, torch.zeros(2, 10, WIDTH), request.param), tmp_path)


def test_every_int8_product_becomes_a_convolution_and_no_other(graph):
    model = openvino.Core().read_model(str(graph))
    kinds = [node.get_type_name() for node in model.get_ordered_ops()]
    assert (kinds.count("MatMul"), kinds.count("Convolution")) == (6, 0)
    assert products_as_convolutions(model) == 4
    kinds = [node.get_type_name() for node in model.get_ordered_ops()]
    assert (kinds.count("MatMul"), kinds.count("Convolution")) == (2, 4)
    assert products_as_convolutions(model) == 0


@pytest.mark.parametrize("rows", [1, 3])
def test_a_chip_without_vnni_gives_the_same_numbers(rows, graph, monkeypatch):
    values = np.random.default_rng(0).normal(size=(rows, 10, WIDTH)).astype(np.float32)
    found = {}
    for native in (True, False):
        monkeypatch.setattr(engine, "multiplies_int8", lambda native=native: native)
        found[native] = EXACT["openvino"].open(graph)({"values": values})
    wanted = EXACT["onnxruntime"].open(graph)({"values": values})
    for name in LAYERS:
        assert found[False][name].shape == (rows, 10, OUT)
        for other in (found[True], wanted):
            assert np.abs(found[False][name] - other[name]).max() <= 1e-5 * np.abs(other[name]).max(), name


def test_products_of_two_axes_and_of_shifted_weights_are_left(tmp_path):
    shifted = static(4, bias=False)
    shifted.zeros.fill_(3)
    racks = {
        "flat": rack({"flat": static(5, bias=True)}, torch.zeros(4, WIDTH), {0: "batch"}),
        "shifted": rack({"shifted": shifted}, torch.zeros(2, 10, WIDTH), {0: "batch"}),
    }
    for name, component in racks.items():
        folder = tmp_path / name
        folder.mkdir()
        model = openvino.Core().read_model(str(export_component(component, folder)))
        assert products_as_convolutions(model) == 0, name
