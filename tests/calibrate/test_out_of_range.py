"""Activations outside of the ranges that a tower was calibrated to are counted, site by site."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from penjing.calibrate.out_of_range import has_ranges, out_of_range_shares
from penjing.layers.static import StaticLinear
from penjing.models.tower import Tower, find_sites


@pytest.fixture
def tower() -> Tower:
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    sites = find_sites(net, net)
    layer = StaticLinear(4, 4, None)
    layer.input.cover(-1.0, 1.0)
    sites["0"].replace(layer)
    return Tower("t", "encoder", "text", net, lambda batch: net(batch["x"]), (), sites)


def test_values_beyond_the_grid_are_counted(tower):
    inputs = torch.tensor([[0.5, -0.99, 1.0, 3.0], [0.0, -2.0, 9.0, 0.1]])
    assert out_of_range_shares(tower, [{"x": inputs}]) == {"0": pytest.approx(3 / 8)}


def test_batches_are_counted_together_and_no_hook_stays(tower):
    inside, outside = {"x": torch.zeros(1, 4)}, {"x": torch.full((1, 4), 5.0)}
    assert out_of_range_shares(tower, [inside, outside]) == {"0": pytest.approx(0.5)}
    assert not tower.sites["0"].module.input._forward_pre_hooks
    assert out_of_range_shares(tower, [inside]) == {"0": 0.0}


def test_a_tower_without_ranges_is_not_run():
    net = nn.Sequential(nn.Linear(4, 4))

    def run(batch):
        raise AssertionError

    tower = Tower("t", "encoder", "text", net, run, (), find_sites(net, net))
    assert not has_ranges([tower])
    assert out_of_range_shares(tower, [{"x": torch.zeros(1, 4)}]) == {}
