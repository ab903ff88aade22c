"""Costs are divided among towers by a meter that is read at their doors."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from penjing.errors import ModelError
from penjing.models.capture import call, run_until
from penjing.models.ledger import doors, ledger, owners
from penjing.models.tower import Tower, find_sites


class Meter:
    """Shows how much was spent so far."""

    def __init__(self):
        self.shown = 0.0

    def __call__(self):
        return self.shown


class Costly(nn.Module):
    """Costs what it is told, before and after it calls another module."""

    def __init__(self, meter, before, inner=None, after=0.0):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.meter, self.before, self.after = meter, before, after
        self.inner = inner

    def forward(self, values):
        self.meter.shown += self.before
        if self.inner is not None:
            values = self.inner(values)
        self.meter.shown += self.after
        return values * self.weight


class Pair(nn.Module):
    def __init__(self, meter):
        super().__init__()
        self.text = Costly(meter, 1.0)
        self.image = Costly(meter, 10.0, Costly(meter, 100.0), after=1000.0)

    def forward(self, values):
        return self.text(values) + self.image(values)


def tower(net, name, *parameters, blocks=()):
    return Tower(name, "encoder", "text", net, lambda batch: None, blocks, {}, frozenset(parameters))


def test_each_tower_pays_for_itself_only():
    meter = Meter()
    net = Pair(meter)
    towers = [tower(net, "a", "text.weight", "image.weight"), tower(net, "b", "image.inner.weight")]
    owned = owners(net, towers)
    assert owned["image.inner"] == "b"
    assert owned["text"] == owned[""] == "a"
    with ledger(doors(net, towers, owned), meter) as spent:
        net(torch.ones(1))
        net(torch.ones(1))
    assert spent == {"a": 2 * 1011.0, "b": 2 * 100.0}
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())


def test_a_broken_run_leaves_no_hooks():
    meter = Meter()
    net = Pair(meter)
    net.text.forward = None
    towers = [tower(net, "a", *(name for name, _ in net.named_parameters()))]
    with pytest.raises(TypeError), ledger(doors(net, towers, owners(net, towers)), meter):
        net(torch.ones(1))
    assert not any(module._forward_hooks for module in net.modules())


def test_modules_inside_a_block_have_no_door_unless_they_belong_elsewhere():
    net = nn.ModuleDict({"block": nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))})
    first = tower(net, "a", "block.0.weight", "block.0.bias", blocks=(net["block"],))
    both = tower(net, "a", *(name for name, _ in net.named_parameters()), blocks=(net["block"],))
    second = tower(net, "b", "block.1.weight", "block.1.bias")
    assert [module for module, _ in doors(net, [both], owners(net, [both]))] == [net, net["block"]]
    apart = dict(doors(net, [first, second], owners(net, [first, second])))
    assert apart[net["block"][1]] == "b"


def test_owners_survive_a_replaced_module():
    net = nn.ModuleDict({"fc": nn.Linear(3, 3), "head": nn.Linear(3, 3)})
    sites = find_sites(net, net)
    towers = [
        Tower("a", "encoder", "text", net, lambda batch: None, (), {"fc": sites["fc"]}, frozenset({"fc.weight"})),
        Tower("b", "head", "text", net, lambda batch: None, (), {"head": sites["head"]}, frozenset({"head.weight"})),
    ]
    before = owners(net, towers)
    sites["fc"].replace(nn.Sequential(nn.Linear(3, 1), nn.Linear(1, 3)))
    after = owners(net, towers)
    assert after["fc"] == before["fc"] == "a"
    assert after["head"] == "b"


def test_call_takes_what_forward_knows():
    class Net(nn.Module):
        def forward(self, values, use_cache=True):
            assert use_cache is False
            return values + 1

    assert call(Net(), {"values": torch.zeros(1), "labels": torch.ones(1)}) == 1


def test_run_until_stops_behind_the_part(opened):
    net = opened("bert").net
    probe = opened("bert").family.probe(net, 0)
    hidden = run_until(net, "text", ["bert.encoder.layer.0"])(probe)
    hidden = hidden[0] if isinstance(hidden, tuple) else hidden
    assert hidden.shape == (1, 24, 32)
    assert run_until(net, "head", ["classifier"])(probe).shape == (1, 3)
    assert call(net, probe).logits.shape == (1, 3)


def test_run_until_without_a_part_runs_everything(opened):
    net = opened("bert").net
    probe = opened("bert").family.probe(net, 0)
    assert run_until(net, "all", [""])(probe).logits.shape == (1, 3)
    assert run_until(net, "all", [])(probe).logits.shape == (1, 3)


def test_a_part_that_is_not_reached_is_named(opened):
    model = opened("llava")
    tokens = {"input_ids": torch.tensor([[3, 4, 5]])}
    image = next(tower for tower in model.towers if tower.name == "image")
    with pytest.raises(ModelError, match=r"\(input_ids\) never reach tower 'image'") as caught:
        image.run(tokens)
    assert "modality" in caught.value.hint
