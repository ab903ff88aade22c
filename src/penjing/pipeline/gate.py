"""The gate: every goal is met, no slice lost too much and something was changed, or nothing is published."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from penjing.evaluate.goals import Goal, GoalResult
from penjing.pipeline.measure import Comparison
from penjing.pipeline.steps import StepDone


@dataclass(frozen=True, slots=True)
class Verdict:
    """Goals as checked, and reasons of a refusal that are not goals."""

    goals: tuple[GoalResult, ...]
    problems: tuple[str, ...]

    @property
    def published(self) -> bool:
        """Whether the result may be published."""
        return not self.problems and all(goal.met for goal in self.goals)

    def reasons(self) -> list[str]:
        """Every goal that failed and by how much, then the other reasons."""
        return [*filter(None, (goal.shortfall for goal in self.goals)), *self.problems]

    def as_json(self) -> dict[str, Any]:
        """The keys of the report that are the verdict."""
        goals = [goal.as_json() for goal in self.goals]
        return {"published": self.published, "problems": [*self.problems], "goals": goals}


def hold(goals: Sequence[Goal], comparison: Comparison, done: Sequence[StepDone]) -> Verdict:
    """Check the goals, that no slice lost too much, and that something was changed: made smaller, or taught."""
    checked = tuple(goal.check(comparison.source, comparison.result, comparison.changes) for goal in goals)
    refused = tuple(slice_.reason() for slice_ in comparison.judgement.slices if slice_.refused)
    notes = [note for step in done for note in step.notes]
    if any(note.is_changed for note in notes):
        return Verdict(checked, refused)
    learning = {step.step.method.name for step in done if step.step.method.learns}
    idle = {name: f"{name} found nothing better than what was there" for name in learning}
    reasons = sorted({
        note.skipped or idle.get(note.method, f"{note.method} alone stores nothing in fewer bits") for note in notes
    })  # fmt: skip
    return Verdict(checked, (*refused, f"nothing was changed: {'; '.join(reasons) or 'no step found a site'}"))
