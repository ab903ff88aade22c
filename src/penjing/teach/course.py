"""One training of a student: what is learned from, what is learned, by which losses, for how long."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from accelerate import Accelerator

from penjing.errors import DataError, RecipeError
from penjing.models.family import Model
from penjing.models.tower import Batch, Tower
from penjing.teach.answers import Answers, Layers
from penjing.teach.cache import Parts
from penjing.teach.draw import Draw
from penjing.teach.fitness import check_losses
from penjing.teach.frozen import Kept, frozen_towers
from penjing.teach.joining import kind_of, spread
from penjing.teach.mapping import layer_map
from penjing.teach.matrices import cheap_to_orthogonalize
from penjing.teach.objective import Objective, Weights
from penjing.teach.parts import Learners, Student
from penjing.teach.teacher import Teacher, identity, tensors_key, weights_key
from penjing.train.launch import agreed_folder, new_accelerator
from penjing.train.loop import Loop
from penjing.train.plan import Plan
from penjing.values import DETAIL, Tell

MOST_LOGITS = 64_000_000
"""Logits of all items of one forward; softmax and its gradient take as much a few times over."""
SAMPLE = 12
"""Items by which it is tried what may go through a model together."""
FEW = 4
"""Items by which it is tried whether there is anything to learn."""


@dataclass(frozen=True, eq=False, slots=True)
class Data:
    """Items to learn from, and items kept apart that say when to stop."""

    items: Sequence[Batch]
    held: Sequence[Batch]

    @property
    def every(self) -> list[Batch]:
        """All of them, those to learn from first."""
        return [*self.items, *self.held]

    @property
    def sample(self) -> Sequence[Batch]:
        """A few of those to learn from, of every sort."""
        return spread(self.items, SAMPLE)


@dataclass(frozen=True, slots=True)
class Course:
    """How it is learned. `batch` items make a step, in `accumulate` parts; with `bfloat16`, products in that type.

    With `chooses_matrices` Muon moves only those for which it is cheap, whatever `plan.orthogonal` says.
    `inputs` says what teacher and data are by their content: a training of others does not go on from this one.
    """

    plan: Plan
    weights: Weights
    batch: int
    accumulate: int
    seed: int
    bfloat16: bool = False
    chooses_matrices: bool = False
    inputs: str = ""


@dataclass(frozen=True, slots=True)
class Learned:
    """What came of it: the held-out loss before, the best and when it was, steps taken, items a teacher was asked."""

    before: float
    best: float
    best_step: int
    steps: int
    asked: int


def teach(
    student: Student, teacher: Callable[[], Model], data: Data, course: Course, scratch: Path, tell: Tell
) -> tuple[Learners, Learned]:
    """Train the student in place; what it learned is settled into codes and masks again.

    Everything is kept below `scratch`: answers of the teacher by what they are of, the state of the training by what it
    began with, so that a killed one goes on.
    """
    model, weights = student.model, course.weights
    check_reached(student, data)
    check_losses(model, student.towers, weights, spread(data.items, FEW))
    run = scratch / f"course-{_key(student, data, course)}"
    layers: Layers = {}
    lessons, asked_of = None, None
    accelerator = new_accelerator(cpu=True)
    torch.manual_seed(course.seed)
    learners = Learners(student)
    try:
        if not learners.parameters:
            raise nothing_learns(student)
        frozen = frozen_towers(model)
        if weights.task_share < 1:
            scratch.mkdir(parents=True, exist_ok=True)
            where = (agreed_folder(scratch), tell)  # the first process asks the teacher, for all that see its folder
            with accelerator.main_process_first():
                lessons, layers, asked_of = _lessons(student, teacher, data.every, course, frozen, where)
        answers = Answers(model, data.sample, layers, _embeds(student, weights))
        objective = Objective(model.net, answers, data.every, lessons, weights)
        objective.in_bfloat16 = course.bfloat16
        parts = max(course.accumulate, needed_parts(answers, data.sample, course.batch))
        course = replace(course, accumulate=parts)
        if course.chooses_matrices:
            cheap = cheap_to_orthogonalize(objective, answers, data.sample, course.batch)
            course = replace(course, plan=replace(course.plan, orthogonal=cheap))
        loop = _loop(objective, data, course, run, accelerator)
        kept = Kept(frozen, asked_of.heard if asked_of else None)
        with kept.in_place():
            answers.lean_on(kept, data.every, tell)
            loop.run(_batches(answers, data, course, loop), lambda step, of, terms: tell(_told(terms), step, of))
    finally:
        learners.settle()
    return learners, Learned(loop.first, loop.best, loop.best_step, loop.step, asked_of.asked if asked_of else 0)


def _key(student: Student, data: Data, course: Course) -> str:
    """What a training begins with: weights, data, settings; of a schedule that the clock makes, its time."""
    who = f"{[tower.name for tower in student.towers]} {[site.name for site in student.sites]} {student.part}"
    begun = f"{weights_key(student.model)} {tensors_key(*data.every)} {len(data.items)} {who} {course}"
    return hashlib.sha256(begun.encode()).hexdigest()[:16]


def _lessons(
    student: Student,
    opened: Callable[[], Model],
    items: Sequence[Batch],
    course: Course,
    frozen: Sequence[Tower],
    where: tuple[Path, Tell],
) -> tuple[Callable[[int], Parts], Layers, Teacher]:
    """What the teacher says of items by their number, blocks of the student that it is for, and the teacher."""
    model, weights = opened(), course.weights
    learns = {tower.name for tower in student.towers}
    mapped = layer_map(student.model, model) if weights.wants("features", "attention") else {}
    mapped = {name: places for name, places in mapped.items() if name in learns}
    teacher = Teacher(lambda: model, identity(model), mapped, _embeds(student, weights), weights.temperature)
    cache = teacher.answers(items, *where, frozen)
    return cache.read, {name: range(len(places)) for name, places in mapped.items()}, teacher


def _embeds(student: Student, weights: Weights) -> bool:
    """Whether embeddings are compared: only where an encoder could learn from it."""
    return weights.embeds and any(tower.role == "encoder" for tower in student.towers)


def _loop(objective: Objective, data: Data, course: Course, folder: Path, accelerator: Accelerator) -> Loop:
    first, last = len(data.items), len(data.items) + len(data.held)
    some = -(-course.batch // course.accumulate)

    def held() -> float:
        parts = [range(start, min(start + some, last)) for start in range(first, last, some)]
        return sum(len(part) * float(objective.weigh(objective(part))) for part in parts) / (last - first)

    return Loop(folder, course.plan, objective, accelerator, held if data.held else None)


def _batches(answers: Answers, data: Data, course: Course, loop: Loop) -> Callable[[int], list[list[int]]]:
    """This process's share of the items of a step, in parts."""
    kinds, shapes = zip(*((kind_of(item), answers.shapes(item)) for item in data.items), strict=True)
    draw = Draw(kinds, shapes, course.batch, course.seed)
    rank, world = loop.place

    def batches(step: int) -> list[list[int]]:
        mine = draw(step)[rank::world]
        return [part for first in range(course.accumulate) if (part := mine[first :: course.accumulate])]

    return batches


@torch.no_grad()
def needed_parts(answers: Answers, sample: Sequence[Batch], batch: int) -> int:
    """In how many parts a batch has to go through a model of many words, so that its logits fit into memory."""
    most = max((said.logits.numel() for said in answers.ask(sample[:2]) if said.logits is not None), default=0)
    return max(1, -(-batch * most // MOST_LOGITS))


def check_reached(student: Student, data: Data) -> None:
    """Refuse data from which a tower that is to learn is never reached."""
    reached: set[str] = set()
    asked = Answers(student.model, data.sample, {}, True)
    with contextlib.ExitStack() as hooks:
        for tower in student.towers:
            if tower.blocks:
                watch = tower.blocks[0].register_forward_hook(lambda *call, name=tower.name: reached.add(name))
                hooks.callback(watch.remove)
        with torch.no_grad():
            asked.ask(data.sample)
    lost = [tower for tower in student.towers if tower.blocks and tower.name not in reached]
    if lost:
        raise DataError(
            f"no item reaches tower {lost[0].name}, so it could learn nothing",
            hint=f"give data that has {lost[0].modality}, or name the towers that are to learn",
        )


def nothing_learns(student: Student) -> RecipeError:
    """What to say of towers that have none of what is to learn."""
    towers = ", ".join(tower.name for tower in student.towers)
    what = "parameters" if student.part == "all" else student.part
    return RecipeError(
        f"there is nothing to learn: no {what} in {towers}", hint="give trains: all, or other towers or sites"
    )


def _told(terms: dict[str, float]) -> str:
    return f"train{DETAIL}" + ", ".join(f"{name} {value:.3g}" for name, value in terms.items())
