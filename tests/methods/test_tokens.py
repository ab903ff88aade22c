"""tokens: towers of many kinds on fewer tokens, the same in PyTorch and both engines, saved, and quantized after it."""

from __future__ import annotations

import itertools
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import reloaded_networks
from engine_rack import EXACT, bits_of
from penjing.artifact.checkpoint import load_network, save_network, save_portable
from penjing.artifact.export import export_component
from penjing.calibrate.call import real_calls
from penjing.calibrate.keys import key_makers
from penjing.calibrate.stats import Range
from penjing.calibrate.walk import walk
from penjing.errors import RecipeError
from penjing.layers.merging import MergingBlock
from penjing.methods import Aids, make
from penjing.models.family import Model
from penjing.models.open import refreshed
from penjing.models.outputs import flat_output
from penjing.models.reference import TorchGraph
from penjing.models.tower import Tower
from penjing.pipeline.coverage import coverage_table, source_sites
from penjing.pipeline.steps import Bench, Calibration, StepDone, run_steps
from penjing.recipe import check_fit, parse_recipe
from penjing.runtimes.engine import choose_engine
from penjing.values import Note

FIXED: dict[str, Any] = {"r": 3}
VARYING: dict[str, Any] = {"ratio": 0.2, "match": "local"}
LOOKED: dict[str, Any] = {"keys": 2}
BOTH: dict[str, Any] = {"ratio": (0, 0.3), "keys": (2,), "match": "local"}
CASES = {
    "clip": ("image", "vision_model", FIXED),
    "siglip": ("image", "vision_model", FIXED),
    "vit": ("image", "model", FIXED),
    "whisper": ("encoder", "encoder_model", VARYING),
    "seedling": ("audio", "audio_model", VARYING),
}
SOUND = {"whisper-keys": ("whisper", LOOKED), "whisper-both": ("whisper", BOTH), "seedling-keys": ("seedling", LOOKED)}


def tower_of(model: Model, name: str) -> Tower:
    return next(tower for tower in model.towers if tower.name == name)


def merged(model: Model, tower: str, settings: dict[str, Any]) -> tuple[Model, list[Note]]:
    """The model with a tower whose tokens merge, described anew."""
    notes = make("tokens", settings).run(tower_of(model, tower), [], Aids(model, [], 0, Path()))
    return refreshed(model), notes


@pytest.mark.parametrize("kind", CASES)
def test_engines_merge_what_pytorch_merges(kind, fresh, tmp_path):
    tower, graph, settings = CASES[kind]
    model = fresh(kind)
    before = flat_output(tower_of(model, tower).run(model.family.probe(model.net, 3)))
    model, notes = merged(model, tower, settings)
    after = flat_output(tower_of(model, tower).run(model.family.probe(model.net, 3)))
    assert after.shape == before.shape
    assert 0 < float((after - before).norm() / before.norm()) < 0.5
    assert all(note.change.endswith("tokens") and note.is_changed and not note.size_bytes for note in notes)
    component = next(one for one in model.family.components(model.net) if one.name == graph)
    path = export_component(component, tmp_path)
    inputs = {name: tensor.numpy() for name, tensor in component.inputs.items()}
    (name,) = inputs
    shorter = (
        {name: inputs[name][:1, ..., : inputs[name].shape[-1] // 2]}
        if settings is VARYING
        else {name: inputs[name][:1]}
    )
    for engine in EXACT.values():
        opened = engine.open(path)
        for arrays in (inputs, shorter):
            found, wanted = opened(arrays), TorchGraph(component)(arrays)
            for output, array in wanted.items():
                assert np.abs(found[output] - array).max() <= 1e-5 * max(1, np.abs(array).max()), output


@pytest.mark.parametrize("case", SOUND)
def test_engines_look_at_the_means_that_pytorch_looks_at(case, fresh, tmp_path):
    kind, settings = SOUND[case]
    tower, graph, _ = CASES[kind]
    model, notes = merged(fresh(kind), tower, settings)
    assert next(note.change for note in notes) == "attention to means of 2 tokens"
    component = next(one for one in model.family.components(model.net) if one.name == graph)
    path = export_component(component, tmp_path)
    ((name, tensor),) = component.inputs.items()
    for length in (tensor.shape[-1], tensor.shape[-1] // 2 - 2):
        arrays = {name: tensor.numpy()[:1, ..., :length]}
        wanted = TorchGraph(component)(arrays)
        for engine in EXACT.values():
            found = engine.open(path)(arrays)
            for output, array in wanted.items():
                assert np.abs(found[output] - array).max() <= 1e-5 * max(1, np.abs(array).max()), output


@pytest.mark.parametrize("kind", ["whisper", "seedling"])
def test_the_layers_that_make_keys_are_found(kind, fresh):
    model = fresh(kind)
    target = tower_of(model, CASES[kind][0])
    call = real_calls(target, target.blocks[0], model.family.probe(model.net, 0))[0]
    parts = {name.rpartition(".")[2] for name in key_makers(target.blocks[0], call)}
    assert parts == {"k_proj", "v_proj"}


@pytest.mark.parametrize(("kind", "tokens"), [("clip", [17, 14, 11]), ("vit", [17, 14, 11]), ("siglip", [16, 13, 10])])
def test_notes_count_the_tokens(kind, tokens, fresh):
    model, notes = merged(fresh(kind), "image", FIXED)
    steps = list(itertools.pairwise(tokens))
    assert [note.change for note in notes] == [f"{before} → {after} tokens" for before, after in steps]
    names = {id(module): name for name, module in model.net.named_modules()}
    assert [note.site for note in notes] == [names[id(block)] for block in tower_of(model, "image").blocks]


@pytest.mark.parametrize("kind", ["clip", "whisper"])
def test_steps_before_and_after_find_the_same_sites(kind, fresh):
    tower, _, settings = CASES[kind]
    model = fresh(kind)
    sites = set(tower_of(model, tower).sites)
    owned = tower_of(model, tower).parameter_names
    model, _ = merged(model, tower, settings)
    assert set(tower_of(model, tower).sites) == sites
    assert tower_of(model, tower).parameter_names == owned
    batches = [model.family.probe(model.net, seed) for seed in range(2)]
    notes = make("static_int8", {"max_error": 10.0}).run(tower_of(model, tower), batches, Aids(model, [], 0, Path()))
    assert any(note.bits < 32 for note in notes)
    after, _ = merged(fresh(kind), tower, settings)
    assert all(isinstance(block, MergingBlock) for block in tower_of(after, tower).blocks)


def test_keys_are_pooled_behind_int8_layers_too(fresh):
    model = fresh("whisper")
    batches = [model.family.probe(model.net, seed) for seed in range(2)]
    make("static_int8", {"max_error": 10.0}).run(tower_of(model, "encoder"), batches, Aids(model, [], 0, Path()))
    before = flat_output(tower_of(model, "encoder").run(batches[0]))
    model, notes = merged(model, "encoder", LOOKED)
    assert len(notes) == len(tower_of(model, "encoder").blocks)
    after = flat_output(tower_of(model, "encoder").run(batches[0]))
    assert 0 < float((after - before).norm() / before.norm()) < 0.5


@pytest.mark.parametrize("kind", ["clip", "whisper"])
def test_a_walk_sees_what_the_whole_tower_sees(kind, fresh):
    """Sizes travel with what one block gives the next, also where blocks are run one by one for several batches."""
    tower, _, settings = CASES[kind]
    model, _ = merged(fresh(kind), tower, settings)
    target = tower_of(model, tower)
    batches = [model.family.probe(model.net, seed) for seed in range(3)]
    seen: dict[str, list[torch.Tensor]] = {name: [] for name in target.sites}
    hooks = [
        site.module.register_forward_pre_hook(lambda module, args, name=name: seen[name].append(args[0].abs().max()))
        for name, site in target.sites.items()
    ]
    with torch.no_grad():
        for batch in batches:
            target.run(batch)
    for hook in hooks:
        hook.remove()
    for stretch, _, stats in walk(target, batches, Range):
        for name in stretch.sites:
            if seen[name] and not stretch.outside:
                low, high = stats[name].bounds("absmax")
                assert max(-low, high) == pytest.approx(float(max(seen[name])), rel=1e-5), name


@pytest.mark.parametrize("kind", ["clip", "vit"])
def test_answers_the_same_in_a_fresh_process(kind, fresh, tmp_path):
    model, _ = merged(fresh(kind), "image", FIXED)
    inputs = dict(model.family.probe(model.net, 5))
    folder = tmp_path / "one"
    save_network(model.net, model.folder, folder)
    save_file(inputs, folder / "inputs.safetensors")
    subprocess.run([sys.executable, reloaded_networks.__file__, str(tmp_path)], check=True, timeout=120)
    found = load_file(folder / "outputs.safetensors")["outputs"]
    assert torch.equal(found, reloaded_networks.answer(model.net, inputs))


def test_a_merged_and_quantized_tower_comes_back(fresh, tmp_path):
    model, _ = merged(fresh("whisper"), "encoder", VARYING)
    probe = model.family.probe(model.net, 1)
    make("static_int8", {"max_error": 10.0}).run(tower_of(model, "encoder"), [probe], Aids(model, [], 0, Path()))
    save_network(model.net, model.folder, tmp_path)
    again = refreshed(model, load_network(tmp_path))
    with torch.no_grad():
        wanted = flat_output(tower_of(model, "encoder").run(probe))
        assert torch.equal(flat_output(tower_of(again, "encoder").run(probe)), wanted)


def test_a_checkpoint_says_why_others_cannot_open_it(fresh, tmp_path):
    model, _ = merged(fresh("clip"), "image", FIXED)
    layout = save_portable(model.net, model.folder, tmp_path)
    assert layout.layout == "penjing"
    assert "no merging of tokens" in layout.note


REFUSED = {
    ("resnet", "image", "r: 2"): "see no row of tokens",
    ("swin", "image", "r: 2"): "does not look at all tokens",
    ("clip", "text", "r: 2"): "are words",
    ("clip", "text_embedding", "r: 2"): "no blocks",
    ("clip", "image", "r: 7"): "block 1 sees 10 tokens, 1 of them protected: 7 cannot merge",
    ("clip", "image", "r: 2, first: 2"): "numbers 0 to 1",
    ("clip", "image", "r: 2, last: 5"): "numbers 0 to 1",
    ("clip", "image", "keys: 2"): "first 1 tokens have no neighbours",
    ("siglip", "image", "keys: 2"): "as many keys as queries",
    ("whisper", "encoder", "ratio: [0, 0, 0.3]"): "3 numbers for its 2 blocks",
    ("whisper", "encoder", "keys: [2, 2, 2]"): "3 numbers for its 2 blocks",
}


@pytest.mark.parametrize("case", REFUSED, ids=" ".join)
def test_what_cannot_be_is_refused_before_work_starts(case, fresh):
    kind, tower, settings = case
    recipe = parse_recipe(f"version: 1\nsteps: [{{method: tokens, towers: [{tower}], {settings}}}]", "recipe")
    with pytest.raises(RecipeError, match=REFUSED[case]) as caught:
        check_fit(recipe, fresh(kind))
    assert f"tower {tower}" in str(caught.value)


def test_a_step_for_no_tower_in_particular_leaves_what_it_does_not_fit(fresh):
    model = fresh("clip")
    check_fit(parse_recipe("version: 1\nsteps: [{method: tokens, r: 2}]", "recipe"), model)
    (note,) = make("tokens", FIXED).run(tower_of(model, "text"), [], Aids(model, [], 0, Path()))
    assert "are words" in note.skipped
    assert not note.is_changed


def test_tokens_merge_once(fresh):
    model, _ = merged(fresh("clip"), "image", FIXED)
    (note,) = make("tokens", FIXED).run(tower_of(model, "image"), [], Aids(model, [], 0, Path()))
    assert "merge already" in note.skipped


BAD: list[dict[str, Any]] = [
    {},
    {"r": 2, "ratio": 0.1},
    {"ratio": 0.6},
    {"r": -1},
    {"r": 2, "match": "any"},
    {"keys": 1},
    {"keys": (1, 1)},
    {"ratio": (0.1, 0.7)},
    {"r": 1, "ratio": (0, 0.1)},
]


@pytest.mark.parametrize("settings", BAD, ids=str)
def test_bad_settings(settings):
    with pytest.raises(RecipeError):
        make("tokens", settings)


def test_the_coverage_table_shows_blocks_beside_their_sites(fresh):
    model = fresh("clip")
    source = source_sites(model)
    recipe = parse_recipe("version: 1\nsteps: [{method: tokens, towers: [image], r: 3}]", "recipe")
    model, notes = merged(model, "image", FIXED)
    table = coverage_table(model, [StepDone(recipe.steps[0], tuple(notes), 0.0)], source)
    rows = {row["site"]: row for row in table}
    assert {*rows} == {*source, *(note.site for note in notes)}
    first = rows[notes[0].site]
    assert (first["change"], first["method"], first["tower"]) == ("17 → 14 tokens", "tokens", "image")
    assert (first["size_bytes"], first["parameters"]) == (0, 0), "no weight came or went"


def test_a_finished_step_is_taken_up(fresh, tmp_path):
    """Killed between two steps, a run goes on with the blocks that merge."""
    recipe = parse_recipe(
        "version: 1\nsteps: [{method: tokens, towers: [image], r: 3}, {method: rtn, bits: 8}]", "recipe"
    )
    nothing = Calibration((), (), "no data")

    def bench(name: str) -> Bench:
        return Bench(tmp_path / name, choose_engine("onnxruntime", 1, cache=False))

    whole, _ = run_steps(fresh("clip"), recipe, nothing, bench("a"), lambda *told: None)
    run_steps(fresh("clip"), replace(recipe, steps=recipe.steps[:1]), nothing, bench("b"), lambda *told: None)
    resumed, done = run_steps(fresh("clip"), recipe, nothing, bench("b"), lambda *told: None)
    assert [step.step.method.name for step in done] == ["tokens", "rtn"]
    assert bits_of(resumed.net) == bits_of(whole.net)
    assert all(isinstance(block, MergingBlock) for block in tower_of(resumed, "image").blocks)
