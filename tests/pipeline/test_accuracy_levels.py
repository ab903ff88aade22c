"""How activations are rounded beside integer weights: measured as ONNX Runtime does it, decided layer by layer."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch

from engine_rack import EXACT, bits_of, opened, rack, relative_errors
from penjing.artifact.checkpoint import load_network, save_network
from penjing.artifact.export import export_component
from penjing.layers.weight_only import IntEmbedding, IntLinear, IntTable
from penjing.methods import Aids, make
from penjing.pipeline import accuracy_levels
from penjing.pipeline.accuracy_levels import LevelInputs, rounding_errors, set_accuracy_levels
from penjing.runtimes.engine import Engine
from penjing.tensor.grid import quantize, round_blocks
from penjing.values import silent

DEPLOYED = Engine("onnxruntime", 1)


def a_layer(width: int, bits: int = 8, group: int = 0, symmetric: bool = True) -> IntLinear:
    table = IntTable(24, width, bits, group, symmetric)
    table.store(quantize(torch.randn(24, width), bits, group, symmetric=symmetric))
    return IntLinear(table, torch.randn(24))


def loud(*shape: int) -> torch.Tensor:
    """Values of which a few are much larger than the others, as activations of transformers are."""
    values = torch.randn(shape)
    values[..., 5] *= 60
    return values


@pytest.mark.parametrize(
    ("width", "bits", "group", "symmetric"),
    [(256, 8, 0, True), (96, 8, 0, False), (128, 4, 32, True), (100, 8, 0, True)],
)
def test_the_rounding_is_that_of_onnx_runtime(width, bits, group, symmetric, tmp_path):
    torch.manual_seed(0)
    layer, values = a_layer(width, bits, group, symmetric), loud(2, 5, width)
    path = export_component(rack({"y": layer}, values, {0: "batch", 1: "tokens"}), tmp_path)
    outputs = DEPLOYED.open(path)({"values": values.numpy()})["y"]
    with torch.no_grad():
        exact, expected = layer(values).numpy(), layer(round_blocks(values, layer.table.block)).numpy()
    error = np.linalg.norm(exact - expected)
    assert np.linalg.norm(outputs - expected) < 0.05 * error  # what little there is: values on a tie between two codes
    assert error > 1e-3 * np.linalg.norm(exact)


def test_level_0_leaves_activations_float(tmp_path):
    torch.manual_seed(0)
    layer, values = a_layer(256), loud(2, 5, 256)
    layer.accuracy_level = 0
    path = export_component(rack({"y": layer}, values, {0: "batch", 1: "tokens"}), tmp_path)
    outputs = DEPLOYED.open(path)({"values": values.numpy()})
    with torch.no_grad():
        assert relative_errors(outputs, {"y": layer(values).numpy()})["y"] < 1e-5


@pytest.mark.parametrize(
    ("bits", "width", "symmetric"), [(8, 256, True), (8, 192, False), (4, 128, False), (3, 128, True), (2, 256, False)]
)
def test_smaller_blocks_stand_for_the_same_weights(bits, width, symmetric, tmp_path):
    torch.manual_seed(0)
    layer, values = a_layer(width, bits, 0, symmetric), torch.randn(2, 5, width)
    before, words = layer.weight.clone(), torch.tensor([[3, 0, 23]])
    rows = IntEmbedding(layer.table)(words)
    coarse = layer.table.block
    layer.table.refine(32)
    layer.table.release()
    assert (coarse, layer.table.block) in ((128, 32), (64, 32))
    assert torch.equal(layer.weight, before)
    assert torch.equal(IntEmbedding(layer.table)(words), rows)
    again = IntTable.blank(layer.table.describe())
    again.load_state_dict(layer.table.state_dict())
    assert torch.equal(again.dense(), before)
    graphs = opened(rack({"y": layer}, values, {0: "batch", 1: "tokens"}), tmp_path)
    expected = graphs["torch"]({"values": values.numpy()})
    for name in EXACT:
        assert relative_errors(graphs[name]({"values": values.numpy()}), expected)["y"] < 1e-5, name
    stored = layer.table.size_bytes
    layer.table.store(quantize(before, bits, 0, symmetric=symmetric))
    assert layer.table.size_bytes == stored
    layer.table.refine(64)
    assert layer.table.block == 32


def test_groups_stay_groups():
    layer = a_layer(128, 4, 64)
    before = bits_of(layer)
    layer.table.refine(32)
    assert (layer.table.block, bits_of(layer)) == (64, before)


def compressed(fresh, tmp_path, name: str = "llama_tied"):
    model = fresh(name)
    inputs = LevelInputs.of(model, None)
    for tower in model.towers:
        make("rtn", {}).run(tower, [], Aids(model, [], 0, tmp_path))
    return model, inputs


def layers_of(model) -> dict[str, IntLinear]:
    return {name: layer for name, layer in model.net.named_modules() if isinstance(layer, IntLinear)}


def test_errors_are_measured_of_every_layer_and_a_head_that_shares_its_table(fresh, tmp_path):
    model, inputs = compressed(fresh, tmp_path)
    errors = rounding_errors(model, inputs.read_by(model))
    assert "lm_head" in errors
    assert set(errors) == set(layers_of(model))
    assert not any(layer._forward_hooks for layer in layers_of(model).values())
    assert all(layer.table._dense is None for layer in layers_of(model).values())
    captured: dict[str, torch.Tensor] = {}
    layer = model.net.get_submodule("model.layers.1.mlp.down_proj")
    hook = layer.register_forward_hook(lambda module, given, output: captured.update(x=given[0]))
    with torch.no_grad():
        model.net(**inputs.read_by(model)[0])
        hook.remove()
        rows = captured["x"].flatten(0, 1)
        moved = (round_blocks(rows, layer.table.block) - rows) @ layer.weight.T
    expected = float(moved.norm() / (rows @ layer.weight.T).norm())
    assert errors["model.layers.1.mlp.down_proj"][layer.table.block] == pytest.approx(expected, rel=1e-4)


def test_layers_that_lose_too_much_stay_float_and_the_report_says_so(fresh, tmp_path, monkeypatch):
    model, inputs = compressed(fresh, tmp_path)
    assert set_accuracy_levels(model, inputs, silent) == []
    assert {layer.accuracy_level for layer in layers_of(model).values()} == {4}
    errors = {name: max(outputs.values()) for name, outputs in rounding_errors(model, inputs.read_by(model)).items()}
    limit = sorted(errors.values())[-3]
    monkeypatch.setattr(accuracy_levels, "FLOAT_BEYOND", limit)
    (warning,) = set_accuracy_levels(model, inputs, silent)
    worst = sorted(errors, key=lambda name: -errors[name])[:2]
    assert {name for name, layer in layers_of(model).items() if layer.accuracy_level == 0} == set(worst)
    assert warning.startswith(f"{worst[0]} and 1 more: activations stay float in ONNX Runtime")
    save_network(model.net, model.folder, tmp_path / "out")
    rebuilt = load_network(tmp_path / "out")
    levels = {name: layer.accuracy_level for name, layer in layers_of(model).items()}
    assert {
        name: part.accuracy_level for name, part in rebuilt.named_modules() if isinstance(part, IntLinear)
    } == levels
    (component,) = model.family.components(model.net)
    graph = onnx.load(str(export_component(component, tmp_path))).graph
    products = [node for node in graph.node if node.op_type == "MatMulNBits"]
    outputs = [attribute.i for node in products for attribute in node.attribute if attribute.name == "accuracy_level"]
    assert outputs.count(0) in (1, 2)  # two that read one input are one product
    assert outputs.count(4) > 4


def test_what_reads_one_input_gets_blocks_of_one_size(fresh, tmp_path, monkeypatch):
    model, inputs = compressed(fresh, tmp_path)
    errors = rounding_errors(model, inputs.read_by(model))
    attention = "model.layers.0.self_attn."
    worst = max(
        outputs[layers_of(model)[name].table.block] for name, outputs in errors.items() if name.startswith(attention)
    )
    monkeypatch.setattr(accuracy_levels, "FINER_BEYOND", worst * 0.999)
    monkeypatch.setattr(accuracy_levels, "FINER_BLOCK", 16)
    weights = {name: layer.weight.clone() for name, layer in layers_of(model).items()}
    set_accuracy_levels(model, inputs, silent)
    blocks = {name: layer.table.block for name, layer in layers_of(model).items()}
    assert {block for name, block in blocks.items() if name.startswith(attention)} == {16}
    assert set(blocks.values()) == {16, 32}
    assert all(torch.equal(layer.weight, weights[name]) for name, layer in layers_of(model).items())


def test_a_description_of_an_older_checkpoint_still_makes_a_layer():
    spec = {"rows": 4, "width": 256, "bits": 8, "group": 0, "symmetric": True, "bias": False}
    layer = IntLinear.blank(spec, None)
    assert (layer.accuracy_level, layer.table.block) == (4, 128)
    assert layer.describe() == spec
