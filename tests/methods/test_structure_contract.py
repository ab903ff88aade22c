"""What every method owes that changes the structure of a model: tested by being registered."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import reloaded_networks
from engine_rack import bits_of
from penjing.artifact.checkpoint import WEIGHTS, load_network, save_network, structured_network
from penjing.methods import Aids, Method, known_methods, make
from penjing.models.family import Model
from penjing.models.open import refreshed
from penjing.models.outputs import tower_outputs
from penjing.models.profile import inspect_model
from penjing.pipeline.coverage import coverage_table, source_sites
from penjing.pipeline.steps import StepDone
from penjing.recipe import Step
from penjing.values import Note
from whole_networks import count_hooks, whole_inputs

MODELS = ("clip", "whisper")
SETTINGS: dict[str, dict[str, Any]] = {
    "width": {"neurons": 0.5, "multiple": 8},
    "tokens": {"ratio": 0.2, "match": "local"},
    "lowrank": {"rank": 8, "multiple": 8, "measured": False},
}
"""Where the defaults take nothing away from models as small as these."""
METHODS = sorted(name for name, kind in known_methods().items() if kind.restructures and not kind.renames_tokens)
CASES = [(name, model) for name in METHODS for model in MODELS]


@dataclass
class Done:
    """A model whose structure a method changed, with its notes and what it was."""

    method: Method
    model: Model
    notes: list[Note]
    sites: dict[str, Any]
    before: dict[str, Any]
    inputs: dict[str, torch.Tensor]
    after: torch.Tensor
    hooks: tuple[int, int]
    folder: Path


def run_method(method: Method, model: Model, scratch: Path) -> tuple[Model, list[Note]]:
    """Apply to every tower it is meant for, as a recipe does that names none."""
    batches = [model.family.probe(model.net, seed) for seed in range(3)]
    targets = Step(method).targets(model.towers)
    method.refuse(model, targets)
    notes = list(method.apply_all(targets, batches, Aids(model, batches[:2], 0, scratch)))
    return refreshed(model), notes


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, folder_of) -> dict[tuple[str, str], Done]:
    """Every method on every model, once."""
    from penjing.models.open import open_model

    root = tmp_path_factory.mktemp("restructured")
    found = {}
    for name, kind in CASES:
        model = open_model(str(folder_of(kind)))
        method = make(name, SETTINGS.get(name, {}))
        sites, before, hooks = source_sites(model), inspect_model(model), count_hooks(model.net)
        inputs = whole_inputs(model)
        model, notes = run_method(method, model, root)
        folder = root / f"{name}-{kind}"
        save_network(model.net, model.folder, folder)
        save_file(inputs, folder / "inputs.safetensors")
        after = reloaded_networks.answer(model.net, inputs)
        found[name, kind] = Done(
            method, model, notes, sites, before, inputs, after, (hooks, count_hooks(model.net)), folder
        )
    return found


@pytest.fixture(scope="module")
def reloaded(done: dict[tuple[str, str], Done]) -> dict[tuple[str, str], torch.Tensor]:
    """What all of them answer in a fresh process."""
    return reloaded_networks.answers({case: one.folder for case, one in done.items()})


@pytest.mark.parametrize("case", CASES, ids="-".join)
class TestEveryMethodThatRestructures:
    def test_says_what_became_of_a_site_or_why_it_was_left(self, case, done):
        one = done[case]
        assert any(note.change for note in one.notes)
        for note in one.notes:
            assert note.method == case[0]
            assert bool(note.change) != bool(note.skipped), note
            assert not note.skipped or len(note.skipped) > 10
        assert len({note.site for note in one.notes}) == len(one.notes)

    def test_leaves_floats_for_the_steps_that_round(self, case, done):
        one = done[case]
        assert not one.method.leaves_codes
        later = make("rtn", {"bits": 8})
        assert all(later.chosen(tower) for tower in one.model.towers if tower.role in ("encoder", "decoder"))

    def test_costs_less(self, case, done):
        one = done[case]
        after = inspect_model(one.model)
        macs = [sum(tower["macs"] or 0 for tower in found["towers"]) for found in (one.before, after)]
        sizes = [sum(tower["size_bytes"] for tower in found["towers"]) for found in (one.before, after)]
        assert macs[1] < macs[0] or sizes[1] < sizes[0]
        assert macs[1] <= macs[0]
        assert sizes[1] <= sizes[0] * 1.001

    def test_the_table_tells_the_bytes_that_are_stored(self, case, done):
        one = done[case]
        step = StepDone(Step(one.method), tuple(one.notes), 0.0)
        rows = coverage_table(one.model, [step], one.sites)
        stored = load_file(one.folder / WEIGHTS)
        for row in (row for row in rows if row["method"] == case[0] and row["size_bytes"]):
            parts = [
                value for name, value in stored.items() if name.startswith(f"{row['site']}.") and "bias" not in name
            ]
            if parts:
                assert sum(part.numel() * part.element_size() for part in parts) == row["size_bytes"], row

    def test_gives_the_same_bytes_again(self, case, done, fresh, tmp_path):
        again, notes = run_method(done[case].method, fresh(case[1]), tmp_path)
        assert notes == done[case].notes
        assert bits_of(again.net) == bits_of(done[case].model.net)

    def test_leaves_no_hook_behind_that_it_did_not_build(self, case, done):
        before, after = done[case].hooks
        assert before == after

    def test_answers_the_same_in_a_fresh_process(self, case, done, reloaded):
        assert torch.equal(reloaded[case], done[case].after)

    def test_a_killed_run_takes_up_the_towers_as_they_are(self, case, done):
        """As `--resume` does it: structure first, then weights, then what was rounded."""
        one = done[case]
        model = refreshed(one.model, structured_network(one.folder))
        load_network(one.folder, model.net)
        probe = model.family.probe(model.net, 7)
        for found, wanted in zip(tower_outputs(model, probe), tower_outputs(one.model, probe), strict=True):
            assert (found == wanted).all()
        assert [list(tower.sites) for tower in model.towers] == [list(tower.sites) for tower in one.model.towers]
