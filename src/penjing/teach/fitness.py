"""Whether a student can learn at all: from this teacher, by these losses, with these parts of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from penjing.calibrate.proxy import WORDS
from penjing.data.text import open_tokenizer
from penjing.errors import DataError, ModelError, RecipeError
from penjing.models.checkpoint import read_json
from penjing.models.family import Model
from penjing.models.front_ends import tokenizer_json
from penjing.models.tower import Batch, Tower
from penjing.teach.answers import Answers
from penjing.teach.mapping import layer_map
from penjing.teach.objective import DISTILLED, Objective, Weights
from penjing.teach.teacher import Teacher
from penjing.train.launch import processes

TOKENIZER = "tokenizer.json"
SENTENCES = [
    "The quick brown Fox didn't pay €12.50 for 3 naïve CAFÉS, did it?",
    "你好，世界 – привет",
    "def f(x):\n    return x",
]
"""Where tokenizers differ, they do in these: capitals, accents, signs, spaces, numbers, other scripts."""


def check_teacher(student: Model, teacher: Model, layers: bool) -> None:
    """Refuse a teacher of other labels, word pieces or inputs, or, with `layers`, of fewer layers than the student."""
    mine, theirs = (_labels(model.config) for model in (student, teacher))
    if mine and theirs and mine != theirs:
        raise RecipeError(
            f"{teacher.name} has other labels than {student.name}: {_difference(theirs, mine)}",
            hint="take a teacher with the same labels",
        )
    _check_inputs(student, teacher)
    sizes = [_vocabulary(model.config) for model in (student, teacher)]
    folders = student.folder, teacher.folder
    if (None not in sizes and sizes[0] != sizes[1]) or _differ(*map(_pieces, folders)) or _cut_otherwise(*folders):
        raise RecipeError(
            f"{teacher.name} reads other word pieces than {student.name}: its numbers of tokens mean other words",
            hint="take a teacher with the same tokenizer",
        )
    _check_answers(student, teacher)
    if layers:
        layer_map(student, teacher)


@torch.no_grad()
def check_losses(student: Model, towers: Sequence[Tower], weights: Weights, items: Sequence[Batch]) -> None:
    """Refuse losses of which none says anything of such items; the student is asked in its teacher's place."""
    learning = {tower.name: tuple(range(len(tower.blocks))) for tower in towers if tower.blocks}
    layers = learning if weights.wants("features", "attention") else {}
    embeds = weights.embeds and any(tower.role == "encoder" for tower in towers)
    teacher = Teacher(lambda: student, "", layers, embeds, weights.temperature)
    asked = Answers(student, items, layers, embeds)
    lessons = [teacher.parts(answer) for answer in asked.ask(items)] if weights.task_share < 1 else None
    terms = Objective(student.net, asked, items, lessons.__getitem__ if lessons else None, weights)(range(len(items)))
    if any(name == "task" or weights.losses[name] > 0 for name in terms):
        return
    if weights.task_share == 1:
        raise RecipeError(
            f"there is nothing to learn: the data hold no words or labels that {student.name} is to say",
            hint="give task_share below 1, so that it learns from its teacher",
        )
    wanted = ", ".join(name for name in DISTILLED if weights.losses[name] > 0)
    raise RecipeError(
        f"there is nothing to learn: {student.name} has nothing that {wanted} could compare",
        hint="give logits or features a weight",
    )


def check_shares(batch: int) -> None:
    """Refuse a batch that the processes of a launcher cannot share evenly: they would wait for one another for ever."""
    if batch % processes():
        raise RecipeError(
            f"a batch of {batch} items cannot be shared by {processes()} processes",
            hint=f"give a batch that {processes()} divides",
        )


def heard_s(settings: Mapping[str, Any]) -> float:
    """Seconds of sound that a model hears at most, as far as its settings say; 0 where it hears nothing."""
    audio = settings.get("audio")
    if not audio:
        return 0.0
    if "max_frames" in settings:
        return float(settings["max_frames"] * audio["hop_length"] / audio["sampling_rate"])
    return float(audio.get("longest_s") or audio.get("max_length_s") or "inf")


def _check_inputs(student: Model, teacher: Model) -> None:
    """Whatever the student is fed with, the teacher must read."""
    mine, theirs = _inputs(student), _inputs(teacher)
    lacking = next((name for name in mine if name not in theirs), None)
    if lacking is not None:
        raise RecipeError(
            f"{teacher.name} reads no {lacking}, which {student.name} is fed with",
            hint="take a teacher that reads what its student reads",
        )


def _check_answers(student: Model, teacher: Model) -> None:
    """To an item of the student's the teacher must say something that the student says, too."""
    item = student.family.probe(student.net, 0)
    mine = _answered(student, item)
    try:
        theirs = _answered(teacher, item)
    except Exception as error:  # whatever a network says of inputs of another size
        raise RecipeError(
            f"{teacher.name} cannot read what {student.name} is fed with: {_why(student, teacher, error)}",
            hint="take a teacher that reads what its student reads",
        ) from error
    if not mine & theirs:
        raise RecipeError(
            f"{teacher.name} answers nothing that {student.name} answers: no words, no labels, no embedding",
            hint="take a teacher of the same task",
        )


def _answered(model: Model, item: Batch) -> set[str]:
    """The runs by which a model answers to an item."""
    try:
        return {run.name for run in Answers(model, [item], {}, True).runs}
    except DataError:
        return set()


def _why(student: Model, teacher: Model, error: Exception) -> str:
    """Which input is of another size, else what the network says."""
    mine, theirs = _inputs(student), _inputs(teacher)
    for name, shape in mine.items():
        if shape and shape != theirs[name]:
            return f"{name} of {shape}, and it takes {theirs[name]}"
    return (str(error).splitlines() or [type(error).__name__])[0]


def _inputs(model: Model) -> dict[str, tuple[int, ...]]:
    """What a model is fed with: words of any number, pictures and sounds by their shape."""
    probe = model.family.probe(model.net, 0)
    return {
        name: tuple(value.shape[1:]) if value.is_floating_point() else ()
        for name, value in probe.items()
        if value.is_floating_point() or name in WORDS
    }


def _labels(config: Any) -> dict[int, str]:
    """Labels by number; none where the configuration has none of its own."""
    names = getattr(config, "architectures", None) or [""]
    found: dict[int, str] = getattr(config, "id2label", None) or {}
    return found if "Classification" in names[0] else {}


def _vocabulary(config: Any) -> int | None:
    """How many word pieces a model knows, in whichever part of its configuration that stands."""
    try:
        inner = config.get_text_config() if hasattr(config, "get_text_config") else config
    except ValueError:  # several parts read words
        inner = config
    size = getattr(inner, "vocab_size", None)
    return size if isinstance(size, int) else None


def _pieces(folder: Path) -> dict[str, Any]:
    """How a tokenizer cuts words into pieces; empty where the folder has none that can be read."""
    path = folder / TOKENIZER
    try:
        model: dict[str, Any] = dict(read_json(path)["model"]) if path.is_file() else {}
    except (ModelError, KeyError, TypeError, ValueError):
        return {}
    if "merges" in model:  # "a b" in older files, ["a", "b"] in newer ones
        model["merges"] = [pair.split(" ") if isinstance(pair, str) else pair for pair in model["merges"]]
    return model


def _differ(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two tokenizers say otherwise where both say something: newer files name what older ones leave out."""
    return any(one[key] != other[key] for key in one.keys() & other.keys())


def _cut_otherwise(one: Path, other: Path) -> bool:
    """Whether two tokenizers make other numbers of the same sentences, as far as both can be opened."""
    found = [_numbers(folder) for folder in (one, other)]
    return None not in found and found[0] != found[1]


def _numbers(folder: Path) -> list[list[int]] | None:
    try:
        with ExitStack() as kept:
            tokenizer = open_tokenizer(tokenizer_json(folder, kept))
    except Exception:  # a folder without one, or whatever transformers says of the older files
        return None
    tokenizer.no_padding()  # how sentences are made as long as one another is no matter of what their words are
    tokenizer.no_truncation()
    return [one.ids for one in tokenizer.encode_batch(SENTENCES, add_special_tokens=False)]


def _difference(one: dict[int, str], other: dict[int, str]) -> str:
    if len(one) != len(other):
        return f"{len(one)} and not {len(other)}"
    number = next(number for number in one if one[number] != other.get(number))
    return f"number {number} is {one[number]!r} and not {other.get(number)!r}"
