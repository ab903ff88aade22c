"""`walk` sees what a run of the whole model sees, and after a block was changed, what the changed one produces."""

from __future__ import annotations

from collections import OrderedDict

import pytest
import torch
from torch import nn

from penjing.calibrate.call import real_calls
from penjing.calibrate.chain import chains
from penjing.calibrate.walk import Statistic, walk
from penjing.calibrate.wiring import learn
from penjing.models.tower import Tower, find_sites

FAMILIES = ("clip", "clap", "whisper", "llama", "llava", "t5", "t5_untied", "blip", "swin", "bert")
"""T5's first block hands a bias to the others, BLIP's grow a cache, CLAP and Swin merge patches between blocks."""


class Seen(Statistic):
    """Remembers every input."""

    def __init__(self) -> None:
        self.inputs: list[torch.Tensor] = []

    def see(self, values: torch.Tensor) -> None:
        self.inputs.append(values.clone())


def plain_hooks(tower: Tower, batches) -> dict[str, list[torch.Tensor]]:
    """What every site of a tower sees while the whole tower runs."""
    seen: dict[str, list[torch.Tensor]] = {name: [] for name in tower.sites}
    hooks = [
        site.module.register_forward_pre_hook(lambda module, args, name=name: seen[name].append(args[0].clone()))
        for name, site in tower.sites.items()
    ]
    with torch.no_grad():
        for batch in batches:
            tower.run(batch)
    for hook in hooks:
        hook.remove()
    return seen


def walked(tower: Tower, batches) -> dict[str, list[torch.Tensor]]:
    with torch.no_grad():
        return {name: stat.inputs for _, _, stats in walk(tower, batches, Seen) for name, stat in stats.items()}


def check_same(found: dict[str, list[torch.Tensor]], wanted: dict[str, list[torch.Tensor]]) -> None:
    assert found.keys() == wanted.keys()
    for name, inputs in wanted.items():
        assert len(found[name]) == len(inputs), name
        assert all(torch.equal(a, b) for a, b in zip(found[name], inputs, strict=True)), name


def count_hooks(net: nn.Module) -> int:
    return sum(
        len(module._forward_hooks) + len(module._forward_pre_hooks) + len(module._backward_hooks)
        for module in net.modules()
    )


@pytest.mark.parametrize("name", FAMILIES)
def test_an_unchanged_tower_is_seen_as_plain_hooks_see_it(name, fresh):
    model = fresh(name)
    batches = [model.family.probe(model.net, seed) for seed in (0, 1)]
    before = count_hooks(model.net)
    for tower in model.towers:
        check_same(walked(tower, batches), plain_hooks(tower, batches))
    assert count_hooks(model.net) == before


@pytest.mark.parametrize(
    ("name", "place"), [("clip", 0), ("clip", 1), ("whisper", 0), ("whisper", 1), ("llama", 0), ("llava", 1)]
)
def test_the_next_block_sees_the_changed_one(name, place, fresh):
    """Halving every weight inside the loop must leave the statistics of a run whose earlier weights are halved."""
    model = fresh(name)
    tower = model.towers[place]
    batches = [model.family.probe(model.net, 0)]
    order: list[dict[str, list[torch.Tensor]]] = []
    with torch.no_grad():
        for stretch, _, stats in walk(tower, batches, Seen):
            order.append({site: stat.inputs for site, stat in stats.items()})
            # What a run of the whole tower would show now, its earlier blocks changed, this one not.
            check_same(order[-1], {site: plain_hooks(tower, batches)[site] for site in stretch.sites})
            for site in stretch.sites.values():
                site.weight.mul_(0.5)
    assert len(order) >= len(tower.blocks)


def test_a_position_bias_of_a_changed_first_block_reaches_the_next(fresh):
    """T5: what the first block hands over is made by the table that was just changed."""
    model = fresh("t5")
    tower = model.towers[0]
    batches = [model.family.probe(model.net, 0)]
    bias = next(name for name in tower.sites if "relative_attention_bias" in name)
    with torch.no_grad():
        for stretch, _, stats in walk(tower, batches, Seen):
            wanted = {site: plain_hooks(tower, batches)[site] for site in stretch.sites}
            check_same({site: stat.inputs for site, stat in stats.items()}, wanted)
            if bias in stretch.sites:
                tower.sites[bias].weight.mul_(-20)


@pytest.mark.parametrize("name", ["clip", "t5"])
def test_breaking_off_leaves_no_hook(name, fresh):
    model = fresh(name)
    before = count_hooks(model.net)
    batches = [model.family.probe(model.net, 0)]
    for tower in (tower for tower in model.towers if tower.blocks):
        for _, _, stats in walk(tower, batches, Seen):
            assert count_hooks(model.net) == before  # not even while the caller works
            assert all(stat.inputs for stat in stats.values())
            break
        with pytest.raises(RuntimeError, match="enough"):
            fail_inside(walk(tower, batches, Seen))
    assert count_hooks(model.net) == before


def fail_inside(steps) -> None:
    for _ in steps:
        raise RuntimeError("enough")


def test_a_run_that_fails_leaves_no_hook(fresh):
    model = fresh("clip")
    before = count_hooks(model.net)
    with pytest.raises(KeyError):
        next(walk(model.towers[0], [{"nothing": torch.zeros(1)}], Seen))
    assert count_hooks(model.net) == before


class Layer(nn.Module):
    """A block of a toy tower."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, hidden: torch.Tensor, memory: list[float] | None = None) -> OrderedDict[str, torch.Tensor]:
        if memory is not None:
            memory.append(1.0)
            hidden = hidden * len(memory)
        return OrderedDict(hidden=torch.tanh(self.linear(hidden)))


class Toy(nn.Module):
    """Blocks called in any order, with something between them or not, and with a list that they all append to."""

    def __init__(self, order: list[int], between: float | None = None, remember: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.ModuleList(Layer() for _ in range(3))
        self.order, self.between, self.remember = order, between, remember

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        memory: list[float] | None = [] if self.remember else None
        for place in self.order:
            values = self.layers[place](values, memory)["hidden"]
            if self.between is not None:
                values = values + self.between
        return values


def toy_tower(net: Toy) -> Tower:
    return Tower("toy", "encoder", "text", net, lambda b: net(b["values"]), tuple(net.layers), find_sites(net, net))


@pytest.mark.parametrize(
    ("net", "known"),
    [
        (Toy([0, 1, 2]), 3),
        (Toy([0, 1, 2], remember=True), 3),
        (Toy([0, 1, 2], between=0.5), 1),
        (Toy([2, 1, 0]), 0),
        (Toy([0, 0, 1, 2, 2]), 0),
        (Toy([0, 2]), 0),
    ],
    ids=["in order", "with a memory", "something between", "backwards", "repeated", "one is left out"],
)
def test_any_wiring_is_seen_right(net, known):
    tower = toy_tower(net)
    batches = [{"values": torch.randn(2, 4, generator=torch.Generator().manual_seed(seed))} for seed in (0, 1)]
    assert sum(sources is not None for sources in learn(tower, batches[0])[0].blocks) == known
    with torch.no_grad():
        for stretch, calls, stats in walk(tower, batches, Seen):
            wanted = plain_hooks(tower, batches)
            check_same({site: stat.inputs for site, stat in stats.items()}, {site: wanted[site] for site in stats})
            assert len(calls) == sum(len(real_calls(tower, stretch.module, batch)) for batch in batches)
            for site in stretch.sites.values():
                site.weight.mul_(0.5)


class Branching(nn.Module):
    """Blocks that are called with a scale of the batch's own, or without; the last also with what the first gave."""

    def __init__(self, skip: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.ModuleList(Scaled() for _ in range(3))
        self.skip, self.runs = skip, 0

    def forward(self, values: torch.Tensor, scale: torch.Tensor | None = None) -> torch.Tensor:
        first = self.layers[0](values, scale=scale)
        second = self.layers[1](first, scale=scale)
        self.runs += 1
        return self.layers[2](second, scale=first if self.skip else scale)


class Scaled(nn.Module):
    """A block with a scale that may be missing."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, hidden: torch.Tensor, scale: torch.Tensor | None = None) -> torch.Tensor:
        return torch.tanh(self.linear(hidden if scale is None else hidden * scale))


@pytest.mark.parametrize("skip", [False, True])
def test_batches_that_hang_together_in_another_way_are_told_apart(skip):
    net = Branching(skip)
    sites = find_sites(net, net)
    tower = Tower("toy", "encoder", "text", net, lambda batch: net(**batch), tuple(net.layers), sites)
    source = torch.Generator().manual_seed(0)
    plain = [{"values": torch.randn(2, 4, generator=source)} for _ in range(3)]
    scaled = [{**batch, "scale": torch.randn(2, 4, generator=source)} for batch in plain]
    batches = [plain[0], scaled[0], plain[1], scaled[1], plain[2]]
    with torch.no_grad():
        for stretch, _, stats in walk(tower, batches, Seen):
            wanted = plain_hooks(tower, batches)
            check_same({site: stat.inputs for site, stat in stats.items()}, {site: wanted[site] for site in stats})
            for site in stretch.sites.values():
                site.weight.mul_(0.5)


def test_only_the_first_batch_of_a_kind_is_run_whole():
    net = Branching(skip=False)
    tower = Tower("toy", "encoder", "text", net, lambda batch: net(**batch), tuple(net.layers), find_sites(net, net))
    batches = [{"values": torch.full((1, 4), float(place))} for place in range(5)]
    assert len([*chains(tower, batches)]) == 5
    assert net.runs == 1


def test_a_tower_without_blocks_is_one_stretch(fresh):
    model = fresh("llama")
    (embedding,) = [tower for tower in model.towers if tower.role == "embedding"]
    batch = model.family.probe(model.net, 0)
    ((stretch, calls, stats),) = walk(embedding, [batch], Seen)
    assert stretch.outside
    assert calls == []
    (seen,) = stats.values()
    assert torch.equal(seen.inputs[0], batch["input_ids"])
