"""Trunks and blocks, found in toy networks and in the awkward ones of transformers."""

from __future__ import annotations

import pytest
from torch import nn

from penjing.models.trunks import count_parameters, find_blocks, find_trunks


class OneLayer(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.fc = nn.Linear(width, width)


class OtherLayer(OneLayer):
    pass


class TinyStage(nn.Module):
    def __init__(self, depth):
        super().__init__()
        self.blocks = nn.ModuleList(OneLayer() for _ in range(depth))
        self.downsample = nn.Linear(4, 4)


class Residual(nn.Module):
    """A layer made of a list of like parts, which are not layers of their own."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Sequential(OneLayer(), OneLayer())


def test_the_chain_with_the_most_parameters_wins():
    net = nn.Module()
    net.stem = nn.ModuleList(OneLayer(2) for _ in range(3))
    net.layers = nn.ModuleList(OneLayer(8) for _ in range(2))
    assert find_blocks(net) == tuple(net.layers)


def test_layers_of_several_classes_are_one_chain():
    net = nn.Module()
    net.layers = nn.ModuleList([OneLayer(), OtherLayer(), OneLayer()])
    assert find_blocks(net) == tuple(net.layers)


def test_stages_are_flattened_and_layers_are_not():
    net = nn.Module()
    net.stages = nn.ModuleList([TinyStage(1), TinyStage(2)])
    assert [type(block) for block in find_blocks(net)] == [OneLayer] * 3
    net = nn.Module()
    net.layers = nn.ModuleList([Residual(), Residual()])
    assert [type(block) for block in find_blocks(net)] == [Residual] * 2


def test_lists_of_lists_are_flattened():
    net = nn.Module()
    net.block = nn.ModuleList([nn.ModuleList([OneLayer()]), nn.ModuleList([OneLayer(), OneLayer()])])
    assert len(find_blocks(net)) == 3


def test_a_classifier_in_a_sequence_is_no_chain():
    net = nn.Module()
    net.classifier = nn.Sequential(nn.Flatten(), nn.Linear(3, 3))
    assert find_blocks(net) == ()


def test_what_lies_in_another_trunk_is_left_to_it():
    net, inner = nn.Module(), nn.Module()
    inner.layers = nn.ModuleList(OneLayer(8) for _ in range(3))
    net.inner = inner
    net.layers = nn.ModuleList(OneLayer(2) for _ in range(2))
    assert find_blocks(net, [inner]) == tuple(net.layers)


def test_shared_parameters_count_once():
    net = nn.ModuleList([nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False)])
    net[1].weight = net[0].weight
    assert count_parameters(net) == 9


@pytest.mark.parametrize(
    ("name", "paths", "keys", "blocks"),
    [
        ("clip", ["text_model", "vision_model"], ["text", "vision"], [2, 2]),
        ("whisper", ["model.encoder", "model.decoder"], ["encoder", "decoder"], [2, 2]),
        ("llava", ["model.vision_tower", "model.language_model"], ["vision", "text"], [2, 2]),
        ("t5", ["encoder", "decoder"], ["encoder", "decoder"], [2, 2]),
        ("vision_encoder_decoder", ["encoder", "decoder"], ["encoder", "decoder"], [2, 2]),
        ("moonshine", ["model.encoder", "model.decoder"], ["encoder", "decoder"], [6, 2]),
        ("opt", ["model.decoder"], [""], [2]),
        ("swin", ["swin"], [""], [3]),
        ("resnet", ["resnet"], [""], [5]),
        ("convnext", ["convnext"], [""], [5]),
        ("clap", ["text_model", "audio_model"], ["text", "audio"], [2, 4]),
    ],
)
def test_trunks_of_transformers(opened, name, paths, keys, blocks):
    found = find_trunks(opened(name).net)
    assert [trunk.path for trunk in found] == paths
    assert [trunk.key for trunk in found] == keys
    assert [len(trunk.blocks) for trunk in found] == blocks


def test_stages_of_resnet_give_its_bottlenecks(opened):
    (trunk,) = find_trunks(opened("resnet").net)
    assert {type(block).__name__ for block in trunk.blocks} == {"ResNetBottleNeckLayer"}
