"""Whether a student can learn from a teacher at all: they must mean the same by what they say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from penjing.errors import ModelError, RecipeError
from penjing.models.checkpoint import read_json
from penjing.models.family import Model
from penjing.teach.mapping import layer_map

TOKENIZER = "tokenizer.json"


def check_teacher(student: Model, teacher: Model, layers: bool) -> None:
    """Refuse a teacher of other labels, of other word pieces, or, with `layers`, of fewer layers than the student."""
    mine, theirs = (_labels(model.config) for model in (student, teacher))
    if mine and theirs and mine != theirs:
        raise RecipeError(
            f"{teacher.name} has other labels than {student.name}: {_difference(theirs, mine)}",
            hint="take a teacher with the same labels",
        )
    sizes = [_vocabulary(model.config) for model in (student, teacher)]
    words = [_pieces(model.folder) for model in (student, teacher)]
    if (None not in sizes and sizes[0] != sizes[1]) or (None not in words and words[0] != words[1]):
        raise RecipeError(
            f"{teacher.name} reads other word pieces than {student.name}: its numbers of tokens mean other words",
            hint="take a teacher with the same tokenizer",
        )
    if layers:
        layer_map(student, teacher)


def _labels(config: Any) -> dict[int, str]:
    """Labels by number; none where the configuration has none of its own."""
    names = getattr(config, "architectures", None) or [""]
    found: dict[int, str] = getattr(config, "id2label", None) or {}
    return found if "Classification" in names[0] else {}


def _vocabulary(config: Any) -> int | None:
    size = getattr(config, "vocab_size", None)
    return size if isinstance(size, int) else None


def _pieces(folder: Path) -> Any:
    """The word pieces of a tokenizer, if the folder has one."""
    path = folder / TOKENIZER
    try:
        return read_json(path)["model"].get("vocab") if path.is_file() else None
    except (ModelError, KeyError, AttributeError):
        return None


def _difference(one: dict[int, str], other: dict[int, str]) -> str:
    if len(one) != len(other):
        return f"{len(one)} and not {len(other)}"
    number = next(number for number in one if one[number] != other.get(number))
    return f"number {number} is {one[number]!r} and not {other.get(number)!r}"
