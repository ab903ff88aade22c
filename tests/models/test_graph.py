"""Who feeds whom: found on every family, proven by outputs that stay, and given up where something else listens."""

from __future__ import annotations

import pytest
import torch

from penjing.errors import ModelError
from penjing.models.family import Model
from penjing.models.graph import Feed, feeds
from penjing.models.outputs import flat_output
from penjing.models.tower import Tower
from penjing.tensor.grid import relative_error

ATTENTION = ("q_proj", "k_proj", "v_proj")


def tower_of(model: Model, name: str) -> Tower:
    return next(tower for tower in model.towers if tower.name == name)


def readers(found: list[Feed]) -> list[set[str]]:
    return [{site.name.rpartition(".")[2] for site in one.sites} for one in found]


@pytest.mark.parametrize(
    ("kind", "name", "wanted"),
    [
        ("clip", "image", [set(ATTENTION), {"fc1"}]),
        ("llama", "decoder", [set(ATTENTION), {"gate_proj", "up_proj"}]),
        ("whisper", "decoder", [set(ATTENTION), {"q_proj"}, {"fc1"}]),
        ("seedling", "fusion", [set(ATTENTION), {"fc1"}]),
    ],
)
def test_every_block_has_its_feeds(kind, name, wanted, fresh):
    model = fresh(kind)
    tower = tower_of(model, name)
    found = readers(feeds(model, tower, model.family.probe(model.net, 0)))
    assert found[: len(wanted) * len(tower.blocks)] == wanted * len(tower.blocks)


@pytest.mark.parametrize("kind", ["clip", "llama", "whisper", "seedling", "gpt2", "bert"])
def test_what_all_towers_answer_stays_when_scales_move(kind, fresh):
    model = fresh(kind)
    batch = model.family.probe(model.net, 0)
    towers = [tower for tower in model.towers if tower.blocks]
    with torch.no_grad():
        before = [flat_output(tower.run(batch)) for tower in towers]
        for tower in towers:
            for one in feeds(model, tower, batch):
                weights = [site.weight.clone() for site in one.sites]
                one.fold(torch.linspace(0.3, 3, one.sites[0].weight.shape[1]))
                assert not torch.equal(one.sites[0].weight, weights[0])
        after = [flat_output(tower.run(batch)) for tower in towers]
    for pair in zip(before, after, strict=True):
        assert relative_error(*pair) < 1e-4


def test_finding_them_changes_nothing(fresh):
    model = fresh("llama")
    before = {name: value.clone() for name, value in model.net.state_dict().items()}
    feeds(model, tower_of(model, "decoder"), model.family.probe(model.net, 0))
    assert all(torch.equal(value, before[name]) for name, value in model.net.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.net.modules())


def test_a_norm_that_something_else_reads_is_no_feed(fresh):
    """The norm behind the last block of an encoder LM is its output as well."""
    model = fresh("bert")
    for tower in model.towers:
        if tower.blocks:
            found = feeds(model, tower, model.family.probe(model.net, 0))
            assert found == [], "a post-norm block adds what its norm gives to what comes after"


def test_a_tower_that_fails_is_told_and_one_without_inputs_is_not(fresh):
    model = fresh("clip")
    whole = model.family.probe(model.net, 0)
    image = {"pixel_values": whole["pixel_values"]}
    tower = tower_of(model, "image")
    assert feeds(model, tower, image)  # of texts there is none to run the other tower on

    def fails(module: torch.nn.Module, inputs: object) -> None:
        raise RuntimeError("out of paper")

    tower_of(model, "text").blocks[0].register_forward_pre_hook(fails)
    with pytest.raises(ModelError, match=r"tower text of .* made for: RuntimeError: out of paper"):
        feeds(model, tower, whole)
