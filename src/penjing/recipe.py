"""A recipe: what is done to which towers, in order, and what the result must reach.

YAML, validated whole before any model is opened:

version: 1
model: openai/whisper-base        # optional when MODEL is on the command line; same for data
seed: 0
steps:
  - {method: static_int8, towers: [encoder], calibration: percentile}
  - {method: rtn, bits: 8, towers: [decoder, embedding]}
goals: ["wer<=+0.01", "size_bytes<=30%"]
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from penjing.errors import Diverged, RecipeError, did_you_mean
from penjing.evaluate.goals import Goal, parse_goals
from penjing.methods import Method, known_methods, make
from penjing.models.family import Model
from penjing.models.tower import Tower

FEW_SITES = 5
MOST_CHARACTERS = 1_000_000
MOST_VALUES = 10_000
"""A few lines of YAML can name billions, one alias inside of the other."""
KEYS = ("version", "model", "data", "seed", "steps", "goals")
DEFAULTS = {
    "speech-seq2seq": "speech",
    "dual-encoder": "dual-encoder",
    "multimodal": "multimodal",
    "encoder": "encoder",
    "classifier": "classifier",
    "image-text-to-text": "vision-language",
    "image-to-text": "vision-language",
    "visual-question-answering": "vision-language",
}
"""The recipe that is used where none is named, by task; `weights` for all others."""


@dataclass(frozen=True, slots=True)
class Step:
    """One method with its settings, and the towers it is for (empty: all it fits)."""

    method: Method
    towers: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """The step as a recipe has it, every setting written out."""
        settings = self.method.model_dump(mode="json")
        if not settings.get("sites"):
            settings.pop("sites", None)
        return {"method": self.method.name, **({"towers": [*self.towers]} if self.towers else {}), **settings}

    def targets(self, towers: Sequence[Tower]) -> list[Tower]:
        """The towers this step applies to; a name that is no tower, role or modality is an error."""
        if not self.towers:
            return [tower for tower in towers if tower.role in self.method.roles]
        for wanted in self.towers:
            if not any(_answers(tower, wanted) for tower in towers):
                known = [name for tower in towers for name in (tower.name, tower.role, tower.modality)]
                raise RecipeError(
                    f"step {self.method.name}: no tower called {wanted!r}",
                    hint=did_you_mean(wanted, [*dict.fromkeys(known)]),
                )
        return [tower for tower in towers if any(_answers(tower, wanted) for wanted in self.towers)]


def _answers(tower: Tower, wanted: str) -> bool:
    return wanted in (tower.name, tower.role, tower.modality)


@dataclass(frozen=True, slots=True)
class Recipe:
    """A validated recipe."""

    steps: tuple[Step, ...]
    goals: tuple[Goal, ...] = ()
    model: str | None = None
    data: str | None = None
    seed: int = 0
    name: str = "recipe"

    def as_json(self) -> dict[str, Any]:
        """The recipe as data, every default written out."""
        document: dict[str, Any] = {"version": 1}
        document |= {key: value for key in ("model", "data") if (value := getattr(self, key)) is not None}
        document |= {"seed": self.seed, "steps": [step.as_json() for step in self.steps]}
        return document | ({"goals": [goal.text for goal in self.goals]} if self.goals else {})

    def as_yaml(self) -> str:
        """The recipe as a person would write it."""
        return yaml.safe_dump(self.as_json(), sort_keys=False, default_flow_style=None, width=100)

    def check(self, towers: Sequence[Tower]) -> None:
        """Refuse, before any work, what cannot be done to these towers."""
        earlier: list[tuple[Method, str, set[str]]] = []
        for step in self.steps:
            _check_order(step.method, [method for method, _, _ in earlier])
            targets = step.targets(towers)
            _check_globs(step, targets)
            for tower in targets:
                sites = {site.name for site in step.method.chosen(tower)}
                for method, place, taken in earlier:
                    reason = step.method.conflict(method) if place == tower.name and sites & taken else ""
                    if reason:
                        raise RecipeError(
                            f"tower {tower.name}: {step.method.name} after {method.name}: {reason}",
                            hint="change the earlier step, or give them different towers or sites",
                        )
                earlier.append((step.method, tower.name, sites))


@contextlib.contextmanager
def named(place: int, method: Method) -> Iterator[None]:
    """Say in which step of a recipe, counted from 1, training went astray: several may learn."""
    try:
        yield
    except Diverged as error:
        raise Diverged(f"step {place}, {method.name}: {error.message}", hint=error.hint) from None


def check_fit(recipe: Recipe, model: Model) -> None:
    """Refuse a step that can do nothing with a tower it names or with any it is for, or that takes too much away."""
    for place, step in enumerate(recipe.steps):
        reasons = {tower.name: step.method.misfit(tower, model) for tower in step.targets(model.towers)}
        unfit = {name: reason for name, reason in reasons.items() if reason}
        if unfit and (step.towers or len(unfit) == len(reasons)):
            name, reason = next(iter(unfit.items()))
            raise RecipeError(
                f"tower {name}: {step.method.name}: {reason}", hint="give it other towers or settings, or leave it out"
            )
        earlier = [one.method for one in recipe.steps[:place]]
        step.method.refuse_after(earlier, model, step.targets(model.towers))


def _check_order(method: Method, earlier: Sequence[Method]) -> None:
    """Structure is found in float layers, so it changes before anything is rounded; what learns needs its teacher."""
    rounding = next((one for one in earlier if one.leaves_codes and one.changes_weights), None)
    if method.restructures and rounding is not None:
        raise RecipeError(
            f"{method.name} after {rounding.name}: weights are rounded already",
            hint="put steps that change the structure before those that round",
        )
    for one in earlier if method.learns else ():
        reason = method.conflict(one)
        if reason:
            raise RecipeError(f"{method.name} after {one.name}: {reason}", hint=f"put {method.name} before {one.name}")


def _check_globs(step: Step, towers: Sequence[Tower]) -> None:
    """A pattern that matches no site is a typo."""
    for glob in step.method.sites:
        one = step.method.model_copy(update={"sites": (glob,)})
        if not any(one.chosen(tower) for tower in towers):
            known = [name for tower in towers for name, site in tower.sites.items() if step.method.fits(site)]
            near = did_you_mean(glob, known) if known else "the method fits no site of these towers"
            hint = near if len(known) <= FEW_SITES or near.startswith("did") else f"sites are named like {known[-1]!r}"
            raise RecipeError(f"step {step.method.name}: no site matches {glob!r}", hint=hint)


def recipe_of(given: Any) -> Recipe:
    """A recipe from steps (mappings, or names of methods), from a document, a file, or a built-in name.

    Raises:
        RecipeError: it is none of these.
    """
    if isinstance(given, Recipe):
        return given
    if isinstance(given, (str, Path)):
        return read_recipe(str(given))
    if isinstance(given, Mapping):
        document = {"version": 1, **({"steps": [given]} if "method" in given else given)}
    elif isinstance(given, Iterable):
        document = {"version": 1, "steps": list(given)}
    else:
        raise RecipeError(f"a recipe is no {type(given).__name__}", hint='give steps: [{"method": "rtn", "bits": 8}]')
    steps = document.get("steps")
    if isinstance(steps, list):
        document["steps"] = [_step_document(step) for step in steps]
    return recipe_from(document, "recipe")


def _step_document(step: Any) -> Any:
    """A step as a recipe file has it: the name of a method or a method stands for a step with its settings."""
    if isinstance(step, str):
        return {"method": step}
    if isinstance(step, Method):
        return {"method": step.name, **step.model_dump(mode="json")}
    if not isinstance(step, Mapping):
        return step
    return {key: list(value) if isinstance(value, tuple) else value for key, value in step.items()}


def read_recipe(name: str) -> Recipe:
    """Read a recipe file, or a built-in recipe by name."""
    path = Path(name)
    if path.suffix in (".yaml", ".yml") or path.is_file():
        try:
            text = path.read_text(encoding="utf8")
        except (OSError, UnicodeDecodeError) as error:
            raise RecipeError(f"cannot read the recipe {name}", hint="give a YAML file or a built-in name") from error
        return parse_recipe(text, path.name)
    known = builtin_recipes()
    if name not in known:
        is_method = name in known_methods()
        hint = f"{name} is a method: write steps: [{{method: {name}}}]" if is_method else did_you_mean(name, [*known])
        raise RecipeError(f"no recipe called {name!r}", hint=hint)
    return parse_recipe(known[name], name)


def builtin_recipes() -> dict[str, str]:
    """The text of every built-in recipe by name."""
    folder = files("penjing") / "recipes"
    found = [entry for entry in folder.iterdir() if entry.name.endswith(".yaml")]
    return {
        entry.name.removesuffix(".yaml"): entry.read_text(encoding="utf8")
        for entry in sorted(found, key=lambda e: e.name)
    }


def default_recipe(task: str | None) -> Recipe:
    """The recipe for a task when none is named."""
    return read_recipe(DEFAULTS.get(task or "", "weights"))


def parse_recipe(text: str, name: str) -> Recipe:
    """Validate a recipe's text; every mistake is a RecipeError that names the key."""
    if len(text) > MOST_CHARACTERS:
        raise RecipeError(f"{name} has {len(text):,} characters", hint="this is no recipe: one has a few hundred")
    try:
        document = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f" (line {mark.line + 1})" if mark else ""
        raise RecipeError(f"{name} is not YAML{line}", hint="look for a wrong indent or a missing colon") from error
    if _is_larger(document, MOST_VALUES):
        raise RecipeError(f"{name} holds more than {MOST_VALUES:,} values", hint="does an alias repeat itself?")
    return recipe_from(document, name)


def recipe_from(document: Any, name: str) -> Recipe:
    """Validate a recipe as YAML or Python has it; every mistake is a RecipeError that names the key."""
    if not isinstance(document, dict):
        raise RecipeError(f"{name} is not a recipe", hint="start with `version: 1` and `steps:`")
    for key in document:
        if key not in KEYS:
            raise RecipeError(f"{name}: unknown key {key!r}", hint=did_you_mean(str(key), [*KEYS]))
    if document.get("version") != 1:
        raise RecipeError(f"{name}: version must be 1, not {document.get('version')!r}", hint="write `version: 1`")
    steps = document.get("steps")
    if not isinstance(steps, list) or not steps:
        raise RecipeError(f"{name}: no steps", hint="write at least one: `steps: [{method: rtn, bits: 8}]`")
    return Recipe(
        tuple(_step(step, place, name) for place, step in enumerate(steps, 1)),
        parse_goals(_texts(document, "goals", name)),
        _text(document, "model", name),
        _text(document, "data", name),
        _seed(document, name),
        name,
    )


def _is_larger(document: Any, most: int) -> bool:
    """Whether a document holds more values than this; what an alias names counts wherever it is named."""
    waiting, count = [document], 0
    while waiting and count <= most:
        value = waiting.pop()
        count += 1
        if isinstance(value, dict):
            waiting += [*value, *value.values()]
        elif isinstance(value, (list, tuple, set)):
            waiting += value
    return count > most


def _step(step: Any, place: int, name: str) -> Step:
    if not isinstance(step, dict) or "method" not in step:
        raise RecipeError(f"{name}: step {place} names no method", hint="write `- {method: rtn, bits: 8}`")
    settings: dict[str, Any] = {str(key): value for key, value in step.items() if key not in ("method", "towers")}
    return Step(make(str(step["method"]), settings), tuple(_texts(step, "towers", f"{name}: step {place}")))


def _texts(document: Mapping[str, Any], key: str, name: str) -> list[str]:
    values = document.get(key) or []
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise RecipeError(f"{name}: {key} must be a list of names", hint=f"write `{key}: [one, two]`")
    return values


def _text(document: Mapping[str, Any], key: str, name: str) -> str | None:
    value = document.get(key)
    if value is not None and not isinstance(value, str):
        raise RecipeError(f"{name}: {key} must be text", hint=f"write `{key}: NAME`")
    return value


def _seed(document: Mapping[str, Any], name: str) -> int:
    seed = document.get("seed", 0)
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        raise RecipeError(f"{name}: seed must be a whole number from 0", hint="write `seed: 0`")
    return seed
