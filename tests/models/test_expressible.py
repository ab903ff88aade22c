"""Settings that say a new width or depth: found by what they hold, proven by the network they describe."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from penjing.models.expressible import Change, can_say, described_by, express, shapes_of
from penjing.models.stack import stack_of


def halve(net: nn.Module, ending: tuple[str, ...], axis: int) -> None:
    """Cut tensors in half along an axis."""
    for name, module in net.named_modules():
        for key, values in [*module.named_parameters(recurse=False)]:
            if f"{name}.{key}".endswith(ending):
                half = values.narrow(axis, 0, values.shape[axis] // 2).clone()
                setattr(module, key, nn.Parameter(half, False))


@pytest.mark.parametrize(
    ("kind", "makers", "reader", "old", "where"),
    [
        ("llama", ("gate_proj.weight", "up_proj.weight"), "down_proj.weight", 64, "intermediate_size"),
        ("vit", ("fc1.weight", "fc1.bias"), "fc2.weight", 64, "intermediate_size"),
        ("opt", ("fc1.weight", "fc1.bias"), "fc2.weight", 64, "ffn_dim"),
    ],
)
def test_a_width_is_said_by_the_setting_that_held_it(kind, makers, reader, old, where, fresh):
    model = fresh(kind)
    halve(model.net, makers, 0)
    halve(model.net, (reader,), 1)
    assert express(model.net, [Change(old, old // 2)]) == set()
    assert getattr(model.net.config, where) == old // 2
    assert shapes_of(described_by(model.net, model.net.config)) == shapes_of(model.net)


def test_of_two_settings_alike_the_right_one_is_changed(fresh):
    net = fresh("whisper").net
    for layer in net.model.encoder.layers:
        halve(layer, ("fc1.weight", "fc1.bias"), 0)
        halve(layer, ("fc2.weight",), 1)
    assert express(net, [Change(64, 32)]) == set()
    assert (net.config.encoder_ffn_dim, net.config.decoder_ffn_dim) == (32, 64)


def test_one_side_of_a_dual_encoder(fresh):
    net = fresh("clip").net
    halve(net.vision_model, ("fc1.weight", "fc1.bias"), 0)
    halve(net.vision_model, ("fc2.weight",), 1)
    assert express(net, [Change(64, 32)]) == set()
    assert (net.config.vision_config.intermediate_size, net.config.text_config.intermediate_size) == (32, 64)
    assert net.vision_model.config.intermediate_size == 32


def test_what_no_setting_says_is_left_over_and_nothing_is_changed(fresh):
    net = fresh("llama").net
    before = copy.deepcopy(net.config.to_dict())
    halve(net.model.layers[0], ("gate_proj.weight", "up_proj.weight"), 0)
    halve(net.model.layers[0], ("down_proj.weight",), 1)
    left = express(net, [Change(64, 32)])
    assert left == {f"model.layers.0.mlp.{name}_proj.weight" for name in ("gate", "up", "down")}
    assert net.config.to_dict() == before


def test_lists_of_a_value_per_layer_follow_the_layers_that_stay(fresh):
    model = fresh("qwen2")
    net = model.net
    net.config.layer_types = ["sliding_attention", "full_attention"]
    stack = stack_of(net, next(tower for tower in model.towers if tower.name == "decoder"))
    assert stack is not None
    stack.keep([1])
    assert express(net, [Change(2, 1, (1,))]) == set()
    assert (net.config.num_hidden_layers, [*net.config.layer_types]) == (1, ["full_attention"])
    assert net.model.layers[0].self_attn.layer_idx == 0


def test_asking_changes_nothing(fresh):
    net = fresh("llama").net
    shapes = {name: shape for name, shape in shapes_of(net).items() if "mlp" in name}
    halved = {name: tuple(32 if side == 64 else side for side in shape) for name, shape in shapes.items()}
    assert can_say(net, [Change(64, 32)], halved)
    assert not can_say(net, [Change(64, 32)], {"model.layers.0.mlp.up_proj.weight": (32, 32)})
    assert net.config.intermediate_size == 64
    assert isinstance(net.model.layers[0].mlp.up_proj.weight, torch.Tensor)
