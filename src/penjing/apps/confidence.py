"""Whether what was found answers at all: learned from questions of which it is known.

A logistic regression of the signs that `retrieval` gives, and a threshold. The questions are the built-in ones (70 for
choosing), whose knowledge is penjing's own, or the user's; they are asked anew for every model that embeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from penjing.apps.retrieval import Retriever
from penjing.data.knowledge import read_knowledge
from penjing.data.records import read_records
from penjing.errors import DataError, did_you_mean
from penjing.values import Array

BUILTIN = "support"
RIDGE = 1.0
ROUNDS = 50


@dataclass(frozen=True, slots=True)
class Asked:
    """A question, the id of the passage that answers it (None where none does), and the part it is in."""

    question: str
    passage: str | None
    part: str


@dataclass(frozen=True, eq=False, slots=True)
class Confidence:
    """How sure one may be that the passages found hold an answer: 0 to 1, and from where on to answer."""

    centre: Array
    scale: Array
    weights: Array
    threshold: float

    def of(self, signs: Array) -> float:
        """The chance that there is an answer."""
        return float(_chance(((signs - self.centre) / self.scale)[None], self.weights)[0])


def builtin_folder() -> Path:
    """Where the built-in knowledge and questions are."""
    return Path(str(files("penjing"))) / "data" / "builtin" / BUILTIN


def read_questions(path: str | Path) -> list[Asked]:
    """Questions of a table with the columns `question`, `passage` (empty: there is no answer) and, if any, `part`."""
    found = []
    for record in read_records(Path(path)):
        if not record.values.get("question"):
            raise DataError(f"{record.place} has no question", hint="columns: question, passage, part")
        passage = record.values.get("passage") or None
        found.append(Asked(str(record.values["question"]), passage, str(record.values.get("part") or "tune")))
    kinds = {asked.passage is None for asked in found if asked.part == "tune"}
    if kinds != {True, False}:
        raise DataError(
            f"{path} needs questions with and without an answer", hint="leave `passage` empty where none is"
        )
    return found


def learn(model: Any, questions: Sequence[Asked] | None = None, retriever: Retriever | None = None) -> Confidence:
    """Learn from questions about the retriever's passages, or from the built-in ones."""
    if questions is None or retriever is None:
        folder = builtin_folder()
        questions = read_questions(folder / "questions.jsonl")
        retriever = Retriever(read_knowledge(folder / "knowledge"), model)
    known = {passage.id for passage in retriever.passages}
    lost = next((one.passage for one in questions if one.passage not in (None, *known)), None)
    if lost is not None:
        raise DataError(f"the questions name a passage that is not known: {lost}", hint=did_you_mean(lost, [*known]))
    asked = [one for one in questions if one.part == "tune"]
    signs = np.array([retriever.find(one.question).signs for one in asked])
    return fitted(signs, np.array([one.passage is not None for one in asked]))


def fitted(signs: Array, answered: Array) -> Confidence:
    """Fit weights by Newton's method, and the threshold that serves answerable and other questions alike."""
    centre, scale = signs.mean(0), np.maximum(signs.std(0), 1e-9)
    given = np.concatenate([(signs - centre) / scale, np.ones((len(signs), 1))], 1)
    weights = np.zeros(given.shape[1])
    ridge = RIDGE * np.diag([1.0] * (len(weights) - 1) + [1e-6])
    for _ in range(ROUNDS):
        chance = _chance(given[:, :-1], weights)
        slope = given.T @ (chance - answered) + ridge @ weights
        bend = (given * (chance * (1 - chance))[:, None]).T @ given + ridge
        weights = weights - np.linalg.solve(bend, slope)
    chances = _chance(given[:, :-1], weights)
    return Confidence(centre, scale, weights, _threshold(chances, answered))


def _chance(signs: Array, weights: Array) -> Array:
    found: Array = 1 / (1 + np.exp(-(signs @ weights[:-1] + weights[-1])))
    return found


def _threshold(chances: Array, answered: Array) -> float:
    """Between two chances: where the worse of both shares, answered rightly and handed over rightly, is largest."""
    ranked = np.sort(chances)
    middles = (ranked[1:] + ranked[:-1]) / 2
    worse = [min((chances[answered] >= cut).mean(), (chances[~answered] < cut).mean()) for cut in middles]
    best = np.flatnonzero(np.isclose(worse, np.max(worse)))
    return float(middles[best[len(best) // 2]])
