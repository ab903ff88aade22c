"""What every method owes, ours or from an installed package: tested by being registered."""

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
from penjing.methods import Aids, Method, known_methods
from penjing.models.capture import call
from penjing.models.family import Model
from penjing.models.outputs import flat_output
from penjing.values import Note
from whole_networks import count_hooks, whole_inputs

MODELS = ("clip", "whisper")
METHODS = {
    name: kind
    for name, kind in known_methods().items()
    if kind.changes_weights and not kind.restructures and not kind.learns
}
"""Those that leave shapes and train nothing; test_structure_contract.py and test_learning_contract.py have the rest."""
CASES = [(name, model) for name in METHODS for model in MODELS]
SETTINGS: dict[str, dict[str, Any]] = {"smoothquant": {"strength": 0.5}}
"""Where the defaults may find that a random model needs nothing."""
LARGEST_ERROR = dict.fromkeys(("magnitude", "wanda", "sparsegpt"), 0.7)
"""Of methods that take weights away: without the smaller half a normal one loses 0.27, more where inputs decide."""


@dataclass
class Done:
    """A model that a method was applied to, tower after tower, with its notes and what it answers."""

    method: Method
    model: Model
    notes: list[Note]
    inputs: dict[str, torch.Tensor]
    before: torch.Tensor
    after: torch.Tensor
    hooks: tuple[int, int]
    folder: Path

    def sites_of(self, note: Note) -> tuple[str, ...]:
        """The site of a note, and those that a method which moves scales must change with it."""
        if self.method.stores:
            return (note.site,)
        parent = note.site.rpartition(".")[0]
        return tuple(other.site for other in self.notes if other.site.rpartition(".")[0] == parent)


def run_method(method: Method, model: Model, scratch: Path) -> list[Note]:
    """Apply with the defaults to every tower that has something for it."""
    batches = [model.family.probe(model.net, seed) for seed in range(3)]
    aids = Aids(model, [model.family.probe(model.net, 9)], 0, scratch)
    towers = [tower for tower in model.towers if method.chosen(tower) and tower.role in method.roles]
    return [note for tower in towers for note in method.run(tower, batches, aids)]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, folder_of, request) -> dict[tuple[str, str], Done]:
    """Every method that tests were chosen of (`-k`) on every model, once."""
    from penjing.models.open import open_model

    root = tmp_path_factory.mktemp("compressed")
    found = {}
    chosen = {one.callspec.params.get("case") for one in request.session.items if hasattr(one, "callspec")}
    for name, model_name in [case for case in CASES if case in chosen or case == ("rtn", "clip")]:
        model = open_model(str(folder_of(model_name)))
        method = known_methods()[name](**SETTINGS.get(name, {}))
        inputs, hooks = whole_inputs(model), count_hooks(model.net)
        before = reloaded_networks.answer(model.net, inputs)
        notes = run_method(method, model, root)
        folder = root / f"{name}-{model_name}"
        save_network(model.net, model.folder, folder)
        save_file(inputs, folder / "inputs.safetensors")
        after = reloaded_networks.answer(model.net, inputs)
        found[name, model_name] = Done(
            method, model, notes, inputs, before, after, (hooks, count_hooks(model.net)), folder
        )
    return found


@pytest.fixture(scope="module")
def reloaded(done: dict[tuple[str, str], Done]) -> dict[tuple[str, str], torch.Tensor]:
    """What all of them answer in a fresh process."""
    return reloaded_networks.answers({case: one.folder for case, one in done.items()})


@pytest.mark.parametrize("case", CASES, ids="-".join)
class TestEveryMethod:
    def test_keeps_shapes_and_changes_something(self, case, done):
        one = done[case]
        assert one.after.shape == one.before.shape
        assert bool(torch.isfinite(one.after).all())
        assert not torch.equal(one.after, one.before)
        assert float((one.after - one.before).norm() / one.before.norm()) < (0.5 if one.method.stores else 1e-4)

    def test_says_one_thing_of_every_site(self, case, done):
        one = done[case]
        towers = [tower for tower in one.model.towers if tower.role in one.method.roles]
        wanted = [(tower.name, site.name) for tower in towers for site in one.method.chosen(tower)]
        said = [(note.tower, note.site) for note in one.notes]
        # `chosen` is asked of the changed model: what a site was before it was replaced decides no longer.
        assert len(set(said)) == len(said)
        assert set(said) >= set(wanted)
        assert {note.method for note in one.notes} == {case[0]}

    def test_a_skipped_site_says_why_and_a_changed_one_its_error(self, case, done):
        for note in done[case].notes:
            if note.skipped:
                assert len(note.skipped) > 10
                assert (note.bits, note.size_bytes) == (32.0, 0)
            elif not done[case].method.stores:
                assert (note.bits, note.error) == (32.0, 0.0)
            else:
                assert 0 < note.error < LARGEST_ERROR.get(case[0], 0.2), note
                assert note.bits < 32

    def test_counts_the_bytes_that_are_stored(self, case, done):
        one = done[case]
        sites = {name: site for tower in one.model.towers for name, site in tower.sites.items()}
        with safe_open(one.folder / WEIGHTS, "pt") as stored:
            sizes = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 - a file, not a dict
        for note in one.notes:
            site = sites[note.site]
            places = tuple(f"{place.name}." for place in (site, *site.tied))
            parts = [tensor for name, tensor in sizes.items() if name.startswith(places) and not name.endswith(".bias")]
            if not note.skipped:
                assert sum(part.numel() * part.element_size() for part in parts) == note.size_bytes, note.site
                assert note.bits == pytest.approx(8 * note.size_bytes / site.weight.numel())

    def test_gives_the_same_bytes_again(self, case, done, fresh, tmp_path):
        again = fresh(case[1])
        notes = run_method(done[case].method, again, tmp_path)
        assert notes == done[case].notes
        assert bits_of(again.net) == bits_of(done[case].model.net)

    def test_leaves_no_hook(self, case, done):
        before, after = done[case].hooks
        assert before == after

    def test_answers_the_same_in_a_fresh_process(self, case, done, reloaded):
        assert torch.equal(reloaded[case], done[case].after)

    def test_a_site_that_is_not_named_is_left_alone(self, case, done, fresh, tmp_path):
        model = fresh(case[1])
        one = next(note for note in done[case].notes if not note.skipped)
        method = known_methods()[case[0]](sites=done[case].sites_of(one), **SETTINGS.get(case[0], {}))
        before = bits_of(model.net)
        notes = run_method(method, model, tmp_path)
        assert {note.site for note in notes} == {*done[case].sites_of(one)}
        kept = bits_of(model.net)
        named = [site for tower in model.towers for name, site in tower.sites.items() if name in method.sites]
        places = tuple(f"{place.name}." for site in named for place in (site, *site.tied))
        if not method.stores:
            places += tuple(name for name in before if "norm" in name)
        assert {name: data for name, data in kept.items() if not name.startswith(places)} == {
            name: data for name, data in before.items() if not name.startswith(places)
        }


def test_a_whole_network_still_runs_by_its_own_forward(done):
    """The compressed network is a plain network: whoever calls it needs nothing of ours."""
    one: Any = done["rtn", "clip"]
    with torch.no_grad():
        assert torch.equal(flat_output(call(one.model.net, one.inputs)), one.after)
