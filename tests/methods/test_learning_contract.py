"""What every method owes that trains what earlier steps left: tested by being registered."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

import reloaded_networks
from engine_rack import bits_of
from penjing.artifact.checkpoint import WEIGHTS, save_network
from penjing.layers.masked import mask_of
from penjing.layers.static import StaticLinear
from penjing.layers.weight_only import IntEmbedding, IntLinear
from penjing.methods import Aids, Method, known_methods, make
from penjing.models.family import Model
from penjing.recipe import Step
from penjing.values import Note
from whole_networks import count_hooks, whole_inputs

MODELS = ("clip", "whisper")
METHODS = [name for name, kind in known_methods().items() if kind.learns]
CASES = [(name, model) for name in METHODS for model in MODELS]
SETTINGS = {"distill": {"steps": 8, "check_every": 2, "rate": 1e-3, "average": 0.5}}
DAMAGE: dict[str, list[dict[str, Any]]] = {
    "clip": [
        {"method": "magnitude", "share": 0.5, "towers": ["image"]},
        {"method": "rtn", "bits": 3, "group": 0, "towers": ["image"]},
        {"method": "rtn", "bits": 4, "group": 0, "symmetric": False, "towers": ["text", "embedding"]},
    ],
    "whisper": [
        {"method": "magnitude", "share": 0.5, "towers": ["decoder"]},
        {"method": "static_int8", "towers": ["encoder"]},
        {"method": "rtn", "bits": 2, "group": 0, "towers": ["embedding"]},
    ],
}
"""Steps before: masked floats, masked codes, codes with and without zero points, of a tied table, rounded inputs."""


@dataclass
class Done:
    """A damaged model that learned, with its notes and what it answered before and after."""

    method: Method
    model: Model
    notes: list[Note]
    inputs: dict[str, torch.Tensor]
    damaged: dict[str, bytes]
    before: torch.Tensor
    after: torch.Tensor
    hooks: tuple[int, int]
    folder: Path


def damaged(model: Model, scratch: Path) -> Model:
    probes = [model.family.probe(model.net, seed) for seed in range(3)]
    for step in DAMAGE["whisper" if "encoder" in {tower.name for tower in model.towers} else "clip"]:
        settings = {key: value for key, value in step.items() if key not in ("method", "towers")}
        done = Step(make(step["method"], settings), tuple(step["towers"]))
        assert any(
            not note.skipped
            for note in done.method.apply_all(done.targets(model.towers), probes, Aids(model, probes[:1], 0, scratch))
        )
    return model


def learn(method: Method, model: Model, scratch: Path) -> list[Note]:
    probes = [model.family.probe(model.net, seed) for seed in range(6)]
    aids = Aids(model, probes[:3], 0, scratch)  # what is looked at is what is learned: it surely gets better
    return list(method.apply_all(Step(method).targets(model.towers), probes, aids))


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, folder_of) -> dict[tuple[str, str], Done]:
    """Every method on every model, once."""
    from penjing.models.open import open_model

    root, scratch = tmp_path_factory.mktemp("learned"), tmp_path_factory.mktemp("scratch")
    found = {}
    for name, kind in CASES:
        model = damaged(open_model(str(folder_of(kind))), scratch)
        method, inputs, hooks = make(name, SETTINGS.get(name, {})), whole_inputs(model), count_hooks(model.net)
        before, bits = reloaded_networks.answer(model.net, inputs), bits_of(model.net)
        notes = learn(method, model, scratch)
        folder = root / f"{name}-{kind}"
        save_network(model.net, model.folder, folder)
        save_file(inputs, folder / "inputs.safetensors")
        after = reloaded_networks.answer(model.net, inputs)
        counted = (hooks, count_hooks(model.net))
        found[name, kind] = Done(method, model, notes, inputs, bits, before, after, counted, folder)
    return found


@pytest.fixture(scope="module")
def reloaded(done) -> dict[tuple[str, str], torch.Tensor]:
    return reloaded_networks.answers({case: one.folder for case, one in done.items()})


@pytest.mark.parametrize("case", CASES, ids="-".join)
class TestEveryMethodThatLearns:
    def test_changes_what_the_model_answers_and_no_shape(self, case, done):
        one = done[case]
        assert one.after.shape == one.before.shape
        assert bool(torch.isfinite(one.after).all())
        assert not torch.equal(one.after, one.before)
        state = one.model.net.state_dict()
        assert {name: value.numel() * value.element_size() for name, value in state.items()} == {
            name: len(value) for name, value in one.damaged.items()
        }

    def test_says_of_every_site_what_it_is_stored_in(self, case, done):
        one = done[case]
        sites = {name: site for tower in one.model.towers for name, site in tower.sites.items()}
        said = [note.site for note in one.notes]
        assert sorted(said) == sorted(sites)
        with safe_open(one.folder / WEIGHTS, "pt") as stored:
            sizes = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 - a file, not a dict
        for note in one.notes:
            site = sites[note.site]
            places = tuple(f"{place.name}." for place in (site, *site.tied))
            parts = [value for name, value in sizes.items() if name.startswith(places) and not name.endswith(".bias")]
            assert sum(part.numel() * part.element_size() for part in parts) == note.size_bytes, note.site
            assert note.bits == pytest.approx(8 * note.size_bytes / site.weight.numel())
            assert not note.skipped

    def test_masks_hold(self, case, done):
        one = done[case]
        masked = {name: module for name, module in one.model.net.named_modules() if mask_of(module) is not None}
        assert masked
        for name, module in masked.items():
            mask = mask_of(module)
            assert mask.numpy().tobytes() == one.damaged[f"{name}.mask"]
            assert not bool(module.weight[~mask].any())
            assert bool(module.weight[mask].any())

    def test_what_was_codes_is_codes_again(self, case, done):
        one = done[case]
        tables = [module.table for module in one.model.net.modules() if isinstance(module, (IntLinear, IntEmbedding))]
        static = [module for module in one.model.net.modules() if isinstance(module, StaticLinear)]
        assert tables or static
        assert all(holder.learned is None for holder in (*tables, *static))
        names = [name for name in one.damaged if name.endswith((".packed", ".scales"))]
        state = bits_of(one.model.net)
        assert names
        assert any(state[name] != one.damaged[name] for name in names)

    def test_nothing_learns_any_more(self, case, done):
        one = done[case]
        assert not any(parameter.requires_grad for parameter in one.model.net.parameters())
        assert not one.model.net.training
        assert one.hooks[0] == one.hooks[1]

    def test_gives_the_same_bytes_again(self, case, done, fresh, tmp_path):
        again = damaged(fresh(case[1]), tmp_path)
        assert learn(done[case].method, again, tmp_path) == done[case].notes
        assert bits_of(again.net) == bits_of(done[case].model.net)

    def test_answers_the_same_in_a_fresh_process(self, case, done, reloaded):
        assert torch.equal(reloaded[case], done[case].after)

    def test_only_the_sites_that_are_named_move(self, case, done, fresh, tmp_path):
        model = fresh(case[1])
        name = next(name for tower in model.towers for name, site in tower.sites.items() if site.kind == "linear")
        before = bits_of(model.net)
        method = make(case[0], {**SETTINGS.get(case[0], {}), "sites": [name], "task_share": 1.0})
        notes = learn(method, model, tmp_path)
        after = bits_of(model.net)
        assert [note.site for note in notes] == [name]
        assert {key for key in after if after[key] != before[key]} <= {f"{name}.weight"}
