"""What a student learns by: the data's own words, and its teacher's answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from penjing.calibrate.proxy import SHARPNESS, worded
from penjing.layers.masked import products_made_once
from penjing.models.tower import Batch
from penjing.teach.answers import Answer, Answers
from penjing.teach.cache import Parts
from penjing.teach.joining import firsts
from penjing.tensor.distill import (
    affinity_loss,
    attention_transfer,
    blended,
    feature_loss,
    relational_loss,
    soft_loss,
    soft_loss_of_best,
    weighted,
)
from penjing.train.launch import gathered

DISTILLED = ("logits", "features", "attention", "affinity", "relational")
EMBEDDING, HIDDEN = "embedding/", "hidden/"


@dataclass(frozen=True, slots=True)
class Weights:
    """λ and the weight of every loss of distillation."""

    task_share: float
    losses: Mapping[str, float]
    temperature: float

    def wants(self, *names: str) -> bool:
        """Whether one of these losses counts."""
        return self.task_share < 1 and any(self.losses[name] > 0 for name in names)

    @property
    def embeds(self) -> bool:
        """Whether embeddings are needed: for the task of models that match, or for what is compared of them."""
        return self.task_share > 0 or self.wants("features", "affinity", "relational")


class Objective(nn.Module):
    """Forward: numbers of items -> the terms of the loss. `lessons` gives what the teacher says of an item.

    Where a hidden state of the student is narrower than its teacher's, a projection is learned between them. With
    `in_bfloat16` the model multiplies in that type while it learns; losses do not.
    """

    in_bfloat16 = False

    def __init__(
        self,
        net: nn.Module,
        asked: Answers,
        items: Sequence[Batch],
        lessons: Callable[[int], Parts] | None,
        weights: Weights,
    ) -> None:
        super().__init__()
        self.net = net
        self.projections = nn.ParameterDict()
        self._asked, self._items, self._lessons, self._weights = asked, items, lessons, weights
        if lessons is not None:
            for number in firsts(items):
                self._project(asked.ask([items[number]])[0], lessons(number))

    def forward(self, numbers: Sequence[int]) -> dict[str, Tensor]:
        """One scalar per loss that these items have."""
        items = [self._items[number] for number in numbers]
        in_bfloat16 = self.in_bfloat16 and torch.is_grad_enabled()
        with torch.autocast("cpu", torch.bfloat16, enabled=in_bfloat16), products_made_once(self.net):
            answers = self._asked.ask(items, self._embedded(len(items)))
        if self.in_bfloat16:
            answers = [answer.float() for answer in answers]
        found = {}
        if self._weights.task_share > 0:
            found["task"] = _task(items, answers)
        if self._lessons is not None:
            found |= self._distilled(answers, [self._lessons(number) for number in numbers])
        return {name: loss for name, loss in found.items() if loss is not None}

    def weigh(self, terms: dict[str, Tensor]) -> Tensor:
        """λ · task + (1 − λ) · Σ wᵢ · lossᵢ, of the terms that there are."""
        distilled = {name: terms[name] for name in DISTILLED if name in terms}
        if "task" not in terms:
            return weighted(distilled, self._weights.losses)
        return blended(terms["task"], weighted(distilled, self._weights.losses), self._weights.task_share)

    def _distilled(self, answers: Sequence[Answer], lessons: Sequence[Parts]) -> dict[str, Tensor | None]:
        wants, found = self._weights.wants, {}
        if wants("logits"):
            found["logits"] = _mean(self._soft(answer, lesson) for answer, lesson in zip(answers, lessons, strict=True))
        if wants("features", "attention"):
            found |= self._like(answers, lessons)
        if wants("affinity", "relational"):
            found |= self._related(answers, lessons)
        return found

    def _embedded(self, items: int) -> int:
        """How many items are embedded: of models that speak half, because each encoder runs once more for it."""
        return -(-items // 2) if self._asked.speaks else items

    def _soft(self, answer: Answer, lesson: Parts) -> Tensor | None:
        logits, temperature = answer.logits, self._weights.temperature
        if logits is None:
            return None
        if "words" in lesson:
            return soft_loss(logits, lesson["words"], temperature)
        if "best" not in lesson:
            return None
        return soft_loss_of_best(logits, lesson["best"], lesson["places"], lesson["total"], temperature)

    def _like(self, answers: Sequence[Answer], lessons: Sequence[Parts]) -> dict[str, Tensor | None]:
        """How near hidden states and embeddings are to the teacher's."""
        near, looked = [], []
        for answer, lesson in zip(answers, lessons, strict=True):
            for name, mine in _states(answer):
                theirs = lesson.get(name)
                if theirs is None:
                    continue
                if name.startswith(HIDDEN) and len(mine) == len(theirs):
                    looked.append(attention_transfer(mine, theirs))
                key = name.replace(".", "_")
                projected = mine @ self.projections[key] if key in self.projections else mine
                if projected.shape == theirs.shape:
                    near.append(feature_loss(projected, theirs))
        found = {"features": _mean(near), "attention": _mean(looked)}
        return {name: loss for name, loss in found.items() if self._weights.wants(name)}

    def _related(self, answers: Sequence[Answer], lessons: Sequence[Parts]) -> dict[str, Tensor | None]:
        """How alike the relations among the items are, within and across modalities; over all processes."""
        related = self._embedded(len(answers))
        mine = [answer.embeddings for answer in answers[:related]]
        theirs = [
            {name.removeprefix(EMBEDDING): value for name, value in lesson.items() if name.startswith(EMBEDDING)}
            for lesson in lessons[:related]
        ]
        found: dict[str, Tensor | None] = {}
        if self._weights.wants("affinity"):
            pairs = (_together([mine, theirs], names) for names in combinations(_names(mine), 2))
            found["affinity"] = _mean(
                affinity_loss((one, other), (their_one, their_other), SHARPNESS)
                for (one, other), (their_one, their_other) in (sides for sides in pairs if sides)
                if one.shape == other.shape and their_one.shape == their_other.shape
            )
        if self._weights.wants("relational") and related > 1:
            alone = (_together([mine, theirs], (name,)) for name in _names(mine))
            found["relational"] = _mean(
                relational_loss(one, other, SHARPNESS) for (one,), (other,) in (sides for sides in alone if sides)
            )
        return found

    def _project(self, answer: Answer, lesson: Parts) -> None:
        """Start projections as they come nearest to the identity."""
        for name, mine in _states(answer):
            if name in lesson and mine.shape[-1] != lesson[name].shape[-1]:
                start = torch.eye(mine.shape[-1], lesson[name].shape[-1])
                self.projections[name.replace(".", "_")] = nn.Parameter(start)


def _task(items: Sequence[Batch], answers: Sequence[Answer]) -> Tensor | None:
    """Cross-entropy of the data's own words or labels; of encoders alone, of which of their items belong together."""
    losses = []
    for item, answer in zip(items, answers, strict=True):
        said = None if answer.logits is None else worded(answer.logits, item)
        if said is not None and said.targets is not None:
            losses.append(cross_entropy(said.logits, said.targets))
    if losses or any(answer.logits is not None for answer in answers):
        return _mean(losses)
    return _matched(answers)


def _matched(answers: Sequence[Answer]) -> Tensor | None:
    """Symmetric InfoNCE of all pairs of modalities (CLIP, arXiv:2103.00020)."""
    embedded = [answer.embeddings for answer in answers]
    losses = []
    for names in combinations(_names(embedded), 2):
        for left, right in _together([embedded], names):
            if left.shape != right.shape:
                continue
            scores, places = SHARPNESS * left @ right.T, torch.arange(len(left))
            losses.append((cross_entropy(scores, places) + cross_entropy(scores.T, places)) / 2)
    return _mean(losses)


def _names(embedded: Sequence[Mapping[str, Tensor]]) -> list[str]:
    """Towers that any of the items is embedded by."""
    return [*dict.fromkeys(name for one in embedded for name in one)]


def _together(sides: Sequence[Sequence[Mapping[str, Tensor]]], names: Sequence[str]) -> list[list[Tensor]]:
    """By side, embeddings (items, width) of each name, of the items that have all of them on every side; over all
    processes. Nothing where there are no such items.
    """
    places = [place for place, _ in enumerate(sides[0]) if all(name in side[place] for side in sides for name in names)]
    if not places:
        return []
    return [
        [gathered(normalize(torch.stack([side[place][name] for place in places]), dim=-1)) for name in names]
        for side in sides
    ]


def _states(answer: Answer) -> Iterator[tuple[str, Tensor]]:
    """Hidden states and embeddings by the names that lessons have for them."""
    for (tower, block), value in answer.hidden.items():
        yield f"{HIDDEN}{tower}/{block}", value
    for name, value in answer.embeddings.items():
        yield f"{EMBEDDING}{name}", value


def _mean(losses: object) -> Tensor | None:
    found = [loss for loss in losses if loss is not None]  # type: ignore[attr-defined]
    return torch.stack(found).mean() if found else None
