"""Recipes: read, written, aimed at towers."""

from __future__ import annotations

import pytest
import yaml

from penjing.errors import RecipeError
from penjing.methods import known_methods
from penjing.models.open import open_model
from penjing.recipe import DEFAULTS, builtin_recipes, default_recipe, parse_recipe, read_recipe
from tiny_models import TINY

TEXT = """
version: 1
model: some/model
data: speech
seed: 7
steps:
  - {method: static_int8, towers: [encoder], calibration: percentile}
  - {method: rtn, bits: 4, group: 32, sites: ["*.fc1", "*.fc2"]}
goals: ["wer<=+0.01", "size_bytes<=30%"]
"""


@pytest.fixture(scope="module")
def whisper(tmp_path_factory):
    return open_model(str(TINY["whisper"](tmp_path_factory.mktemp("model"))))


def test_read_and_written_alike():
    recipe = parse_recipe(TEXT, "mine.yaml")
    assert (recipe.model, recipe.data, recipe.seed, recipe.name) == ("some/model", "speech", 7, "mine.yaml")
    assert [step.method.name for step in recipe.steps] == ["static_int8", "rtn"]
    assert recipe.steps[0].towers == ("encoder",)
    assert [goal.metric for goal in recipe.goals] == ["wer", "size_bytes"]
    again = parse_recipe(recipe.as_yaml(), "mine.yaml")
    assert again == recipe
    assert again.as_yaml() == recipe.as_yaml()


def test_every_setting_is_written_out():
    (first, second) = parse_recipe(TEXT, "mine.yaml").as_json()["steps"]
    assert list(first)[:2] == ["method", "towers"]
    for step in (first, second):
        settings = set(known_methods()[step["method"]].model_fields) - {"sites"}
        assert settings <= set(step)
    assert "sites" not in first
    assert second["sites"] == ["*.fc1", "*.fc2"]


@pytest.mark.parametrize("name", builtin_recipes())
def test_built_in_recipes_say_what_they_are_for(name):
    lines = builtin_recipes()[name].splitlines()
    assert lines[0].startswith("# ")
    assert lines[1].startswith("# Goal: ")
    assert read_recipe(name).steps


@pytest.mark.parametrize("task", DEFAULTS)
def test_every_task_has_a_default(task):
    assert default_recipe(task).name == DEFAULTS[task]
    assert default_recipe("a task of next year").name == "weights"


def test_a_built_in_name_goes_before_a_folder_of_that_name(tmp_path, monkeypatch):
    (tmp_path / "speech").mkdir()
    monkeypatch.chdir(tmp_path)
    assert read_recipe("speech").name == "speech"


def test_a_recipe_file_without_an_ending(tmp_path):
    (tmp_path / "mine").write_text(TEXT)
    assert read_recipe(str(tmp_path / "mine")).seed == 7


@pytest.mark.parametrize(
    ("towers", "found"),
    [
        ("", ["encoder", "decoder", "embedding"]),
        ("towers: [encoder]", ["encoder"]),
        ("towers: [audio]", ["encoder"]),
        ("towers: [text]", ["decoder", "embedding"]),
        ("towers: [embedding, audio]", ["encoder", "embedding"]),
    ],
)
def test_towers_by_name_role_and_modality(towers, found, whisper):
    (step,) = parse_recipe(f"version: 1\nsteps: [{{method: rtn, {towers}}}]", "mine").steps
    assert [tower.name for tower in step.targets(whisper.towers)] == found


def test_a_step_without_towers_takes_those_it_fits(whisper):
    (step,) = parse_recipe("version: 1\nsteps: [{method: static_int8}]", "mine").steps
    assert [tower.name for tower in step.targets(whisper.towers)] == ["encoder"]


def test_conflicts_count_per_tower(whisper):
    steps = "[{method: rtn, bits: 4, towers: [decoder]}, {method: static_int8, towers: [encoder]}]"
    recipe = parse_recipe(f"version: 1\nsteps: {steps}", "mine")
    recipe.check(whisper.towers)
    steps = "[{method: rtn, bits: 4, towers: [decoder]}, {method: static_int8, towers: [decoder]}]"
    with pytest.raises(RecipeError, match="tower decoder: static_int8 after rtn: 4-bit codes"):
        parse_recipe(f"version: 1\nsteps: {steps}", "mine").check(whisper.towers)


def test_a_method_that_fits_nothing_here_says_so(whisper):
    recipe = parse_recipe("version: 1\nsteps: [{method: float16, towers: [embedding], sites: ['*']}]", "mine")
    with pytest.raises(RecipeError) as told:
        recipe.check(whisper.towers)
    assert told.value.hint == "the method fits no site of these towers"


@pytest.mark.parametrize(
    "text", ["", "[]", "just words", "version: 2\nsteps: [{method: rtn}]", "steps: [{method: rtn}]"]
)
def test_what_is_no_recipe(text):
    with pytest.raises(RecipeError) as told:
        parse_recipe(text, "mine")
    assert told.value.hint


def test_a_recipe_is_plain_yaml():
    document = yaml.safe_load(parse_recipe(TEXT, "mine").as_yaml())
    assert list(document) == ["version", "model", "data", "seed", "steps", "goals"]
