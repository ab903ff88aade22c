"""tokens with `keep`: a decoder reads fewer tokens of a picture, and whoever counts them counts those that are left."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file, save_file

import reloaded_networks
from engine_rack import EXACT, bits_of
from penjing.artifact.checkpoint import load_network, save_network, save_portable, structured_network
from penjing.artifact.manifest import read_manifest
from penjing.calibrate.runner import reference_runner
from penjing.data.row import Row
from penjing.data.vision_prompt import VisionPrompt
from penjing.errors import RecipeError
from penjing.layers.condensing import CondensedConnector, tokens_left
from penjing.methods import Aids, make
from penjing.models.family import Model
from penjing.models.open import open_model, refreshed
from penjing.models.outputs import tower_outputs
from penjing.models.tower import Tower
from penjing.pipeline.graphs import export_graphs, runnable
from penjing.pipeline.steps import Bench, Calibration, run_steps
from penjing.recipe import check_fit, parse_recipe
from penjing.runtimes import open_runner
from penjing.runtimes.engine import choose_engine
from penjing.runtimes.sampling import Style
from penjing.values import Note, silent
from tiny_vision_language import KINDS, save_vision_language

QUESTION = "how many red circles are there ?"
SIZE = (90, 50)
COUNTED = {"llava": 16, "llava_siglip": 16, "idefics3": 4, "smolvlm": 4}
"""Tokens of a picture, or of a tile."""
TILES = {"llava": 1, "llava_siglip": 1, "idefics3": 5, "smolvlm": 5}
KEEP = 3
PROCESSORS: dict[str, tuple[str, dict[str, Any]]] = {
    "idefics3": ("Idefics3Processor", {"image_seq_len": 4}),
    "llava": (
        "LlavaProcessor",
        {"patch_size": 8, "vision_feature_select_strategy": "default", "num_additional_image_tokens": 1,
         "image_token": "<image>"},
    ),
}  # fmt: skip
"""What a checkpoint of transformers has in processor_config.json."""
WRITTEN = {
    "llava": f"USER: <image>\n{QUESTION} ASSISTANT:",
    "idefics3": f"<s>User:<image>{QUESTION}<end_of_utterance>\nAssistant:",
}
"""The chat template, written out."""
RECIPE = """
version: 1
steps:
  - {method: tokens, towers: [connector], keep: 3}
  - {method: gptq, bits: 8, towers: [decoder]}
  - {method: rtn, bits: 8}
"""


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("reading")
    found = {kind: save_vision_language(root / kind, kind) for kind in KINDS}
    for kind, (name, said) in PROCESSORS.items():
        (found[kind] / "processor_config.json").write_text(json.dumps({"processor_class": name, **said}))
    return found


@pytest.fixture
def opened(folders):
    """A model that the test may change."""
    return lambda kind: open_model(str(folders[kind]))


def tower_of(model: Model, name: str = "connector") -> Tower:
    return next(tower for tower in model.towers if tower.name == name)


def condensed(model: Model, scratch: Path, keep: int = KEEP) -> tuple[Model, list[Note]]:
    """The model whose decoder reads fewer tokens, described anew."""
    method = make("tokens", {"keep": keep})
    notes = method.run(tower_of(model), [], Aids(model, [], 0, scratch))
    return refreshed(model, folder=method.folder(model, scratch)), notes


def picture() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (*SIZE[::-1], 3), dtype=np.uint8))


@pytest.mark.parametrize("kind", KINDS)
def test_a_prompt_is_shorter_by_what_went(kind, opened, tmp_path):
    model = opened(kind)
    before = VisionPrompt(model.settings, model.folder / "tokenizer.json")(picture(), QUESTION)
    model, (note,) = condensed(model, tmp_path)
    after = VisionPrompt(model.settings, model.folder / "tokenizer.json")(picture(), QUESTION)
    token = model.settings["image_token_id"]
    assert note.change == f"{COUNTED[kind]} → {KEEP} tokens"
    assert note.site == ("model.connector" if TILES[kind] > 1 else "model.multi_modal_projector")
    assert before.tokens.count(token) == TILES[kind] * COUNTED[kind]
    assert after.tokens.count(token) == TILES[kind] * KEEP
    words = [[one for one in tokens if one != token] for tokens in (before.tokens, after.tokens)]
    assert words[0] == words[1]
    assert np.array_equal(before.pixels, after.pixels)


@pytest.mark.parametrize("kind", ["llava", "smolvlm"])
def test_engines_answer_what_pytorch_answers(kind, opened, tmp_path):
    """Of pictures of one tile and of several, from the first token to the last: the cache is shorter everywhere."""
    model, _ = condensed(opened(kind), tmp_path)
    reference = reference_runner(model)
    (tmp_path / "graphs").mkdir()
    export_graphs(model, tmp_path / "graphs", "result", silent)
    runnable(model, tmp_path / "graphs")
    wanted, tokens = reference.logits(picture(), QUESTION)
    for engine in EXACT.values():
        runner = open_runner(tmp_path / "graphs", read_manifest(tmp_path / "graphs"), engine)
        found, same = runner.logits(picture(), QUESTION)
        assert same == tokens
        assert len(found) == len(tokens)
        assert np.abs(found - wanted).max() < 1e-4
        for size in ((32, 32), SIZE):
            asked = picture().resize(size), QUESTION, Style(8)
            assert runner.ask(*asked) == reference.ask(*asked)


@pytest.mark.parametrize("kind", PROCESSORS)
def test_transformers_reads_as_many_by_its_own_processor(kind, opened, tmp_path):
    """The files that are kept beside the weights count what is left; network and processor go together as before."""
    model, _ = condensed(opened(kind), tmp_path)
    processor = getattr(transformers, PROCESSORS[kind][0]).from_pretrained(model.folder, backend="pil")
    runner = reference_runner(model)
    logits, tokens = runner.logits(picture(), QUESTION)
    inputs = processor(
        images=[[picture()]] if TILES[kind] > 1 else picture(), text=[WRITTEN[kind]], return_tensors="pt"
    )
    assert inputs["input_ids"][0].tolist() == [*tokens]
    with torch.no_grad():
        found = model.net(**{name: value for name, value in inputs.items() if name != "token_type_ids"}).logits[0]
    assert np.abs(found.numpy() - logits).max() < 1e-4


def test_every_setting_that_counts_image_tokens_follows(opened, tmp_path):
    model, _ = condensed(opened("idefics3"), tmp_path)
    said = json.loads((model.folder / "processor_config.json").read_text())
    assert (said["image_seq_len"], model.net.model.image_seq_len) == (KEEP, KEEP)
    model = opened("llava")
    model.net.config.image_seq_length = COUNTED["llava"]
    model, _ = condensed(model, tmp_path)
    said = json.loads((model.folder / "processor_config.json").read_text())
    assert said["num_additional_image_tokens"] == 1 + KEEP - COUNTED["llava"]
    assert model.net.config.image_seq_length == KEEP


@pytest.mark.parametrize("kind", ["llava", "smolvlm"])
def test_answers_the_same_in_a_fresh_process(kind, opened, tmp_path):
    model, _ = condensed(opened(kind), tmp_path / "scratch")
    inputs = dict(model.family.probe(model.net, 5))
    folder = tmp_path / "saved" / "one"
    save_network(model.net, model.folder, folder)
    save_file(inputs, folder / "inputs.safetensors")
    subprocess.run([sys.executable, reloaded_networks.__file__, str(folder.parent)], check=True, timeout=120)
    found = load_file(folder / "outputs.safetensors")["outputs"]
    assert torch.equal(found, reloaded_networks.answer(model.net, inputs))
    again = refreshed(model, structured_network(folder), folder)
    load_network(folder, again.net)
    assert again.settings == model.settings
    assert again.settings["prompt"]["image"]["count"] == KEEP


def test_a_checkpoint_says_why_plain_transformers_cannot_open_it(opened, tmp_path):
    model, _ = condensed(opened("smolvlm"), tmp_path / "scratch")
    layout = save_portable(model.net, model.folder, tmp_path / "checkpoint")
    assert layout.layout == "penjing"
    assert "model.connector: compressed-tensors has no merging of tokens" in layout.note


def rows(folder: Path) -> list[Row]:
    """Pictures with a question each."""
    folder.mkdir()
    found = []
    for place in range(3):
        path = folder / f"{place}.png"
        picture().rotate(90 * place).save(path)
        found.append(Row(str(place), {"question": QUESTION, "answer": "two"}, "image", path))
    return found


def test_later_steps_see_prompts_with_fewer_tokens_and_a_finished_step_is_taken_up(opened, tmp_path):
    """Calibration is read anew after the step; killed behind it, a run goes on as if it had not been."""
    recipe = parse_recipe(RECIPE, "recipe")
    data = rows(tmp_path / "pictures")

    def ran(name: str, steps: int) -> tuple[Model, list[Any]]:
        model = opened("llava")
        calibration = Calibration((), (), "rows", (data, data[:1])).read_by(model)
        bench = Bench(tmp_path / name, choose_engine("onnxruntime", 1, cache=False))
        return run_steps(model, replace(recipe, steps=recipe.steps[:steps]), calibration, bench, silent)

    whole, done = ran("a", 3)
    assert all(note.skipped == "" for note in done[1].notes), "gptq ran on prompts that fit"
    ran("b", 1)
    resumed, _ = ran("b", 3)
    assert bits_of(resumed.net) == bits_of(whole.net)
    assert resumed.settings == whole.settings
    assert tokens_left(tower_of(resumed).module) == KEEP
    probe = whole.family.probe(whole.net, 3)
    for found, wanted in zip(tower_outputs(resumed, probe), tower_outputs(whole, probe), strict=True):
        assert (found == wanted).all()
    site = next(iter(tower_of(whole).sites.values()))
    assert type(site.module).__name__ == "IntLinear", "a connector is still rounded after it"


def test_steps_find_the_same_sites(opened, tmp_path):
    model = opened("llava")
    before = {tower.name: (list(tower.sites), tower.parameter_names) for tower in model.towers}
    model, _ = condensed(model, tmp_path)
    assert {tower.name: (list(tower.sites), tower.parameter_names) for tower in model.towers} == before
    assert isinstance(tower_of(model).module, CondensedConnector)


REFUSED = {
    ("llava", "connector", "keep: 16"): "it gives 16 tokens of a picture: to keep 16 takes none away",
    ("smolvlm", "connector", "keep: 64"): "it gives 4 tokens of a picture: to keep 64 takes none away",
    ("llava", "image", "keep: 4"): "no decoder reads what it gives",
    ("llava", "decoder", "keep: 4"): "no decoder reads what it gives",
    ("llava", "connector", "r: 4"): "no blocks",
}


@pytest.mark.parametrize("case", REFUSED, ids=" ".join)
def test_what_cannot_be_is_refused_before_work_starts(case, opened):
    kind, tower, settings = case
    recipe = parse_recipe(f"version: 1\nsteps: [{{method: tokens, towers: [{tower}], {settings}}}]", "recipe")
    with pytest.raises(RecipeError, match=REFUSED[case]) as caught:
        check_fit(recipe, opened(kind))
    assert f"tower {tower}" in str(caught.value)


def test_a_model_whose_pictures_nobody_reads(fresh):
    recipe = parse_recipe("version: 1\nsteps: [{method: tokens, keep: 4}]", "recipe")
    with pytest.raises(RecipeError, match="no decoder reads what it gives"):
        check_fit(recipe, fresh("clip"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"keep": 0}, "greater than or equal to 1"),
        ({"keep": -2}, "greater than or equal to 1"),
        ({"keep": 4, "r": 2}, "one of the three"),
        ({"keep": 4, "first": 1}, "first is of blocks that merge"),
        ({"keep": 4, "proportional": True}, "proportional is of blocks"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(RecipeError, match=message):
        make("tokens", settings)


def test_tokens_are_reduced_once(opened, tmp_path):
    model, _ = condensed(opened("llava"), tmp_path)
    again, (note,) = condensed(model, tmp_path, 2)
    assert "merge already" in note.skipped
    assert again.settings["prompt"]["image"]["count"] == KEEP
