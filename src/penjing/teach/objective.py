"""What a student learns by: the data's own words, and its teacher's answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from penjing.calibrate.proxy import SHARPNESS, worded
from penjing.models.tower import Batch
from penjing.teach.answers import Answer, Answers
from penjing.teach.cache import Parts
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
            self._project(asked.ask(items[:1])[0], lessons(0))

    def forward(self, numbers: Sequence[int]) -> dict[str, Tensor]:
        """One scalar per loss that these items have."""
        items = [self._items[number] for number in numbers]
        with torch.autocast("cpu", torch.bfloat16, enabled=self.in_bfloat16 and torch.is_grad_enabled()):
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
        pairs = {}
        related = self._embedded(len(answers))
        answers, lessons = answers[:related], lessons[:related]
        for name in answers[0].embeddings:
            if all(EMBEDDING + name in lesson for lesson in lessons):
                mine = torch.stack([answer.embeddings[name] for answer in answers])
                theirs = torch.stack([lesson[EMBEDDING + name] for lesson in lessons])
                pairs[name] = (gathered(normalize(mine, dim=-1)), gathered(normalize(theirs, dim=-1)))
        found: dict[str, Tensor | None] = {}
        if self._weights.wants("affinity"):
            found["affinity"] = _mean(
                affinity_loss((one[0], other[0]), (one[1], other[1]), SHARPNESS)
                for one, other in combinations(pairs.values(), 2)
                if one[0].shape == other[0].shape and one[1].shape == other[1].shape
            )
        if self._weights.wants("relational") and len(answers) > 1:
            found["relational"] = _mean(relational_loss(*pair, SHARPNESS) for pair in pairs.values())
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
    embedded = [
        gathered(normalize(torch.stack([answer.embeddings[name] for answer in answers]), dim=-1))
        for name in answers[0].embeddings
    ]
    losses = []
    for left, right in combinations(embedded, 2):
        if left.shape == right.shape:
            scores, places = SHARPNESS * left @ right.T, torch.arange(len(left))
            losses.append((cross_entropy(scores, places) + cross_entropy(scores.T, places)) / 2)
    return _mean(losses)


def _states(answer: Answer) -> Iterator[tuple[str, Tensor]]:
    """Hidden states and embeddings by the names that lessons have for them."""
    for (tower, block), value in answer.hidden.items():
        yield f"{HIDDEN}{tower}/{block}", value
    for name, value in answer.embeddings.items():
        yield f"{EMBEDDING}{name}", value


def _mean(losses: object) -> Tensor | None:
    found = [loss for loss in losses if loss is not None]  # type: ignore[attr-defined]
    return torch.stack(found).mean() if found else None
