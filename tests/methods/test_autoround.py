"""Learned rounding: nearer than rounding to nearest, never worse, the same again from the same seed."""

from __future__ import annotations

import pytest
import torch

from penjing.errors import DataError
from penjing.methods import Aids, make
from penjing.models.family import Model
from penjing.models.outputs import flat_output
from penjing.models.tower import Tower
from penjing.tensor.grid import fit_grid, quantize, relative_error, to_groups
from penjing.tensor.rounding import learned_weights, rounded_through, signed_step
from penjing.values import Note


def tower_of(model: Model, name: str) -> Tower:
    return next(tower for tower in model.towers if tower.name == name)


def batches_of(model: Model, count: int = 8) -> list:
    return [model.family.probe(model.net, seed) for seed in range(count)]


def apply(model: Model, name: str, tmp_path, method: str = "autoround", **settings) -> tuple[list[Note], float]:
    """Notes, and the tower's error on what it was calibrated with."""
    tower, batches = tower_of(model, name), batches_of(model)
    linear = tuple(name for name, site in tower.sites.items() if site.kind == "linear" and ".layers." in name)
    with torch.no_grad():
        wanted = [flat_output(tower.run(batch)) for batch in batches]
    notes = make(method, {"sites": linear, **settings}).run(tower, batches, Aids(model, [], 0, tmp_path))
    with torch.no_grad():
        found = [flat_output(tower.run(batch)) for batch in batches]
    return notes, sum(relative_error(*pair) for pair in zip(wanted, found, strict=True)) / len(batches)


@pytest.mark.parametrize(("kind", "name"), [("llama", "decoder"), ("clip", "image")])
def test_it_learns_what_rounding_loses(kind, name, fresh, tmp_path):
    grid = {"bits": 3, "group": 32}
    plain = apply(fresh(kind), name, tmp_path, "rtn", **grid)[1]
    notes, learned = apply(fresh(kind), name, tmp_path, **grid, steps=150)
    assert learned < 0.8 * plain
    assert not [note for note in notes if note.skipped]


def test_one_step_from_nearest_is_no_worse_than_nearest(fresh, tmp_path):
    """The best step is kept, and the first one is no step at all."""
    grid = {"bits": 4, "group": 32}
    plain = apply(fresh("llama"), "decoder", tmp_path, "rtn", **grid)[1]
    assert apply(fresh("llama"), "decoder", tmp_path, **grid, steps=1)[1] <= plain * 1.01


def test_gradients_reach_nothing_but_the_rounding(fresh, tmp_path):
    model = fresh("llama")
    apply(model, "decoder", tmp_path, bits=4, group=32, steps=2)
    assert not [name for name, value in model.net.named_parameters() if value.requires_grad or value.grad is not None]


def test_without_data_there_is_nothing_to_learn_from(fresh, tmp_path):
    model = fresh("llama")
    with pytest.raises(DataError, match="autoround needs calibration data"):
        make("autoround", {}).run(tower_of(model, "decoder"), [], Aids(model, [], 0, tmp_path))


def test_without_offsets_it_is_rounding():
    weight = torch.randn(5, 40, generator=torch.Generator().manual_seed(0))
    scales, zeros = fit_grid(weight, 4, 16)
    groups = to_groups(weight, 16)
    found = learned_weights(groups, scales, zeros, torch.zeros_like(groups), 15).flatten(1)[:, :40]
    assert torch.equal(found, quantize(weight, 4, 16, clip=True).dequantize(40))


def test_gradients_pass_rounding_and_signs_are_followed_within_bounds():
    values = torch.tensor([0.3, 1.7], requires_grad=True)
    (3 * rounded_through(values)).sum().backward()
    assert values.grad.tolist() == [3.0, 3.0]
    signed_step(values, 0.5, -0.1, 1.5)
    assert values.tolist() == pytest.approx([-0.1, 1.2])
    assert values.grad is None


@pytest.mark.parametrize("method", ["autoround", "awq", "smoothquant", "gptq"])
def test_text_alone_serves_the_encoder_of_a_model_that_also_decodes(method, fresh, tmp_path):
    """T5 looks at the type of a layer's weight, and its decoder cannot run on what the encoder reads."""
    model = fresh("t5")
    tower = tower_of(model, "encoder")
    batches = [
        {"input_ids": torch.randint(3, 90, (1, 12), generator=torch.Generator().manual_seed(s))} for s in range(4)
    ]
    settings = (
        {} if method == "smoothquant" else {"bits": 4, "group": 32, **({"steps": 3} if method == "autoround" else {})}
    )
    notes = make(method, settings).run(tower, batches, Aids(model, [], 0, tmp_path))
    assert notes
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.net.modules())


def test_float_modules_are_back_when_learning_breaks_off(fresh, tmp_path, monkeypatch):
    model = fresh("llama")

    def fail(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("penjing.methods.autoround.signed_step", fail)
    with pytest.raises(KeyboardInterrupt):
        apply(model, "decoder", tmp_path, bits=4, group=32, steps=2)
    kinds = {type(site.module).__name__ for site in tower_of(model, "decoder").sites.values() if site.kind == "linear"}
    assert kinds == {"Linear"}
