"""What must change together: found on every family, and what goes is gone exactly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from penjing.calibrate.call import real_calls
from penjing.models.family import Model
from penjing.models.inner import Inner, find_inner
from penjing.models.narrow import MISSED, narrow
from penjing.models.outputs import flat_output
from penjing.models.tower import Tower, find_places

Found = list[tuple[nn.Module, Inner, Callable[[], Any]]]
ATTENTION = ("q_proj", "k_proj", "v_proj")


def inner_of(model: Model, tower: Tower) -> Found:
    batch = model.family.probe(model.net, 0)
    found: Found = []
    for block in tower.blocks:
        inside = {id(module) for module in block.modules()}
        sites = [site for site in find_places(model.net) if id(site.parent) in inside]
        call = real_calls(tower, block, batch)[0]

        def run(block: nn.Module = block, call: Any = call) -> Any:
            copied = call.copy()
            return block(*copied.args, **copied.kwargs)

        found += [(block, inner, run) for inner in find_inner(block, run, sites)]
    return found


def parents_of(block: nn.Module, inner: Inner) -> list[nn.Module]:
    reader = inner.reader.module
    return [module for module in block.modules() if any(one is reader for one in module.modules())][:-1]


def said(inner: Inner) -> tuple[str, str, tuple[str, ...], int]:
    makers = tuple(maker.name.rpartition(".")[2] for maker, _ in inner.makers)
    return inner.kind, inner.reader.name.rpartition(".")[2], makers, inner.count


@pytest.mark.parametrize(
    ("kind", "tower", "wanted"),
    [
        ("clip", "image", [("heads", "out_proj", ATTENTION, 2), ("neurons", "fc2", ("fc1",), 64)]),
        ("vit", "image", [("heads", "o_proj", ATTENTION, 2), ("neurons", "fc2", ("fc1",), 64)]),
        ("whisper", "decoder", [("heads", "out_proj", ATTENTION, 2)] * 2 + [("neurons", "fc2", ("fc1",), 64)]),
        ("llama", "decoder", [("neurons", "down_proj", ("gate_proj", "up_proj"), 64)]),
        ("llama_grouped", "decoder", [("heads", "o_proj", ATTENTION, 2),
                                      ("neurons", "down_proj", ("gate_proj", "up_proj"), 64)]),
        ("gpt2", "decoder", [("heads", "c_proj", ("c_attn",), 2), ("neurons", "c_proj", ("c_fc",), 128)]),
        ("seedling", "fusion", [("heads", "out_proj", ATTENTION, 2), ("neurons", "fc2", ("fc1",), 64)]),
        ("resnet", "image", [("channels", "convolution", ("convolution",), 4)] * 2),
    ],
)  # fmt: skip
def test_every_block_has_its_inner_channels(kind, tower, wanted, fresh):
    model = fresh(kind)
    one = next(one for one in model.towers if one.name == tower)
    found = [said(inner) for _, inner, _ in inner_of(model, one)]
    assert found[: len(wanted)] == wanted
    assert len(found) == len(wanted) * len(one.blocks)


@pytest.mark.parametrize("kind", ["clip", "whisper", "llama_grouped", "vit", "resnet", "seedling", "bert", "opt"])
@settings(max_examples=3, deadline=None)
@given(data=st.data())
def test_any_units_may_go_and_the_rest_is_as_if_they_were_zero(kind, data, folder_of):
    from penjing.models.open import open_model

    model = open_model(str(folder_of(kind)))
    narrowed = 0
    for tower in (tower for tower in model.towers if tower.blocks):
        for block, inner, run in inner_of(model, tower):
            drawn = data.draw(st.integers(1, 2**inner.count - 2))
            keep = torch.tensor([drawn >> unit & 1 == 1 for unit in range(inner.count)])
            wanted, shapes = zeroed(inner, keep, run), {site.name: site.weight.shape for site, _ in inner.makers}
            reason = narrow(inner, keep, parents_of(block, inner), run)
            if reason:
                assert (kind, inner.kind, reason) == ("seedling", "heads", MISSED)  # its memory comes from the fusion
                assert {site.name: site.weight.shape for site, _ in inner.makers} == shapes
                continue
            narrowed += 1
            torch.testing.assert_close(flat_output(run()), wanted, rtol=1e-4, atol=1e-5)
            share = int(keep.sum()) / inner.count
            for maker, _ in inner.makers:
                assert len(maker.weight) == round(share * shapes[maker.name][0])
            assert inner.reader.weight.shape[1] == round(share * len(inner.read))
    assert narrowed >= 2


@torch.no_grad()
def zeroed(inner: Inner, keep: Tensor, run: Callable[[], Any]) -> Tensor:
    """What a block gives when the reader's columns of these units are zero."""
    gone = ~inner.channels(keep)
    kept = inner.reader.weight.clone()
    inner.reader.weight[:, gone] = 0
    wanted = flat_output(run())
    inner.reader.weight.copy_(kept)
    return wanted


class Shared(nn.Module):
    """Two readers of one layer: its channels are nobody's own."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.left, self.right = nn.Linear(8, 16), nn.Linear(16, 8), nn.Linear(16, 8)

    def forward(self, values: Tensor) -> Tensor:
        inner = torch.relu(self.up(values))
        return self.left(inner) + self.right(inner)


class Leaking(nn.Module):
    """The inner channels leave the block."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(8, 16), nn.Linear(16, 8)

    def forward(self, values: Tensor) -> tuple[Tensor, Tensor]:
        inner = torch.relu(self.up(values))
        return self.down(inner), inner


class Depthwise(nn.Module):
    """An inverted bottleneck: what is between works channel by channel."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Conv2d(4, 12, 1), nn.Conv2d(12, 4, 1)
        self.deep, self.norm = nn.Conv2d(12, 12, 3, padding=1, groups=12), nn.BatchNorm2d(12).eval()
        self.norm.running_mean.normal_()

    def forward(self, values: Tensor) -> Tensor:
        return values + self.down(torch.relu(self.norm(self.deep(self.up(values)))))


def plain(block: nn.Module, inputs: Tensor) -> tuple[list[Inner], Callable[[], Any]]:
    def run() -> Any:
        return block(inputs)

    return find_inner(block, run, [*find_places(block)]), run


@pytest.mark.parametrize("block", [Shared(), Leaking()])
def test_channels_that_others_read_are_left(block):
    assert plain(block, torch.randn(1, 5, 8))[0] == []


@torch.no_grad()
def test_what_lies_between_follows():
    block = Depthwise()
    (inner,), run = plain(block, torch.randn(1, 4, 6, 6))
    assert {type(module).__name__ for module, _ in inner.followers} == {"Conv2d", "BatchNorm2d"}
    keep = torch.arange(12) % 3 != 0
    wanted = zeroed(inner, keep, run)
    assert not narrow(inner, keep, [block], run)
    torch.testing.assert_close(flat_output(run()), wanted)
    assert (block.deep.groups, block.norm.num_features, block.norm.running_mean.shape) == (8, 8, (8,))
