"""Low rank on whole models: what is cut, what stays and why, and that later steps find both halves."""

from __future__ import annotations

import json

import pytest
import torch

import penjing
from engine_rack import opened, rack, relative_errors
from penjing.errors import DataError, RecipeError
from penjing.layers.lowrank import LowRankLinear
from penjing.layers.static import StaticLinear
from penjing.layers.weight_only import IntLinear
from penjing.methods import Aids, make
from penjing.methods import lowrank as room
from penjing.models.family import Model
from penjing.models.open import refreshed
from penjing.models.outputs import flat_output
from penjing.models.tower import Tower
from penjing.recipe import parse_recipe
from penjing.tensor.grid import relative_error
from penjing.values import Note

SMALL = {"multiple": 8, "measured": False}


def tower_of(model: Model, name: str) -> Tower:
    return next(tower for tower in model.towers if tower.name == name)


def probes(model: Model, count: int = 6) -> list:
    return [model.family.probe(model.net, seed) for seed in range(count)]


def cut(model: Model, tower: str, tmp_path, **given) -> list[Note]:
    return make("lowrank", {**SMALL, **given}).run(tower_of(model, tower), probes(model), Aids(model, [], 0, tmp_path))


def test_notes_tell_shapes_and_numbers(fresh, tmp_path):
    model = fresh("clip")
    notes = {note.site: note for note in cut(model, "image", tmp_path, rank=8)}
    note = next(note for name, note in notes.items() if name.endswith("layers.0.mlp.fc1"))
    assert note.change == "64 × 32 → rank 8"
    assert note.size_bytes == 4 * 8 * (64 + 32)
    module = model.net.get_submodule(note.site)
    assert isinstance(module, LowRankLinear)
    assert module.up.bias is not None


def test_all_the_energy_leaves_a_model_as_it_is(fresh, tmp_path):
    model = fresh("whisper")
    before = {name: value.clone() for name, value in model.net.state_dict().items()}
    notes = cut(model, "encoder", tmp_path, energy=1.0)
    assert all("would hold more numbers" in note.skipped for note in notes)
    assert all(torch.equal(before[name], value) for name, value in model.net.state_dict().items())


def test_the_tower_feels_less_than_of_plain_truncation(fresh, tmp_path):
    errors = {}
    for whitened in (True, False):
        model = fresh("clip")
        tower = tower_of(model, "image")
        wanted = [flat_output(tower.run(batch)) for batch in probes(model)]
        cut(model, "image", tmp_path, rank=8, whitened=whitened)
        found = [flat_output(tower.run(batch)) for batch in probes(model)]
        errors[whitened] = sum(relative_error(*pair) for pair in zip(wanted, found, strict=True))
    assert errors[True] < errors[False]


@pytest.mark.parametrize(
    ("method", "given", "kind"), [("rtn", {"bits": 8}, IntLinear), ("static_int8", {"max_error": 9}, StaticLinear)]
)
def test_later_steps_find_both_halves(fresh, tmp_path, method, given, kind):
    model = fresh("clip")
    cut(model, "image", tmp_path, rank=8)
    model = refreshed(model)
    tower = tower_of(model, "image")
    halves = [name for name in tower.sites if name.endswith((".up", ".down"))]
    assert len(halves) == 2 * sum(isinstance(module, LowRankLinear) for module in model.net.modules())
    make(method, given).run(tower, probes(model), Aids(model, [], 0, tmp_path))
    assert all(isinstance(tower.sites[name].module, kind) for name in halves)


def test_a_layer_that_would_be_slower_stays_whole(fresh, tmp_path, monkeypatch):
    asked = []

    def ratio(shape, rank, tokens, engine):
        asked.append((shape, rank, tokens))
        return 1.25 if shape == (64, 32) else 0.5

    monkeypatch.setattr(room, "thin_ratio", ratio)
    model = fresh("clip")
    notes = cut(model, "image", tmp_path, rank=8, measured=True)
    slow = [note for note in notes if "take 1.25 of the time of one of 64 × 32" in note.skipped]
    assert {note.site.rpartition(".")[2] for note in slow} == {"fc1"}
    assert any(note.change for note in notes)
    assert {tokens for shape, _, tokens in asked if shape == (64, 32)} == {17}


def test_a_decoder_is_timed_on_one_token(fresh, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(room, "thin_ratio", lambda shape, rank, tokens, engine: asked.append(tokens) or 0.5)
    cut(fresh("llama"), "decoder", tmp_path, rank=8, measured=True)
    assert set(asked) == {1}


def test_the_engine_is_really_asked(fresh, tmp_path):
    from penjing.methods.stopwatch import thin_ratio
    from penjing.runtimes.engine import choose_engine

    engine = choose_engine("onnxruntime", 1, cache=False)
    assert thin_ratio((512, 512), 8, 64, engine) < 0.5
    assert thin_ratio((512, 512), 512, 64, engine) > 1.2


def test_both_engines_run_both_products(tmp_path):
    values = torch.randn(2, 5, 48, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    layers = {
        "biased": LowRankLinear.of(torch.randn(24, 8), torch.randn(8, 48), torch.randn(24)),
        "plain": LowRankLinear.of(torch.randn(96, 16), torch.randn(16, 48), None),
    }
    graphs = opened(rack(layers, values, {0: "batch", 1: "tokens"}), tmp_path)
    wanted = graphs["torch"]({"values": values.numpy()})
    for name in ("onnxruntime", "openvino"):
        assert max(relative_errors(graphs[name]({"values": values.numpy()}), wanted).values()) < 1e-5


def test_codes_and_tied_layers_are_left(fresh, tmp_path):
    model = fresh("clip")
    make("rtn", {"bits": 8}).run(tower_of(model, "image"), [], Aids(model, [], 0, tmp_path))
    notes = cut(model, "image", tmp_path, rank=8)
    assert all("already IntLinear from an earlier step" in note.skipped for note in notes)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"energy": 0.9, "rank": 8}, "one of energy, ratio and rank"),
        ({"ratio": 1.5}, "ratio"),
        ({"rank": 0}, "rank"),
    ],
)
def test_bad_settings_are_named(given, words):
    with pytest.raises(RecipeError, match=words):
        make("lowrank", given)


def test_needs_data_and_no_codes_before(fresh, tmp_path):
    model = fresh("clip")
    with pytest.raises(DataError, match="lowrank needs calibration data"):
        make("lowrank", {}).run(tower_of(model, "image"), [], Aids(model, [], 0, tmp_path))
    recipe = parse_recipe("{version: 1, steps: [{method: rtn}, {method: lowrank}]}", "mine")
    with pytest.raises(RecipeError, match="lowrank after rtn: weights are rounded already"):
        recipe.check(model.towers)


def test_a_run_ends_in_both_formats(speech_recipe, whisper_folder, sound_folder, tmp_path):
    """Low rank and then rounding, through the whole pipeline; the graphs hold both products."""
    out = tmp_path / "out"
    formats = ["onnx", "checkpoint"]
    found = penjing.compress(
        whisper_folder, out, data=sound_folder, recipe=str(speech_recipe), formats=formats, threads=1, quick=True
    )
    rows = {row["site"]: row for row in found["coverage"]}
    cut_sites = [name for name, row in rows.items() if "rank 8" in row["change"]]
    assert cut_sites
    assert all(rows[name]["size_bytes"] == 0 and rows[f"{name}.up"]["size_bytes"] > 0 for name in cut_sites)
    document = json.loads((out / "penjing.json").read_text())
    assert (out / "checkpoint").is_dir()
    assert document["checkpoint"]["layout"] == "penjing"


@pytest.fixture
def speech_recipe(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(
        "version: 1\nsteps:\n  - {method: lowrank, rank: 8, multiple: 8, measured: false, towers: [encoder]}\n"
        '  - {method: rtn, bits: 8, group: 0}\ngoals: ["size_bytes<=90%"]\n'
    )
    return path
