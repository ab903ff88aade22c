"""Score a runner on rows by the metrics of its task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from penjing.data.row import Row
from penjing.errors import DataError
from penjing.evaluate.interval import ItemScores, lowest
from penjing.evaluate.similarity import cosine, logit_kl
from penjing.evaluate.tasks import Progress
from penjing.judge.tasks import Judged, task_of
from penjing.values import Array, Arrays

PERPLEXITY = "perplexity"


def check_answers(task: str, rows: Sequence[Row], labels: Sequence[str] = ()) -> None:
    """Refuse rows without the right answer that a task is judged by; `labels` are those that a classifier knows."""
    task_of(task).check(rows, labels)


def metric_names(task: str, rows: Sequence[Row]) -> tuple[str, ...]:
    """What `judge` will measure on these rows, without running anything."""
    return task_of(task).metrics(rows)


def judge(runner: Any, rows: Sequence[Row], progress: Progress | None = None) -> Judged:
    """Run the task on every row and score it."""
    if not rows:
        raise DataError("no rows to judge by", hint="give more data")
    return task_of(runner.task).score(runner, rows, progress)


def liken(source: Judged, result: Judged) -> Mapping[str, ItemScores]:
    """The scores of a result, as they compare with the source's.

    Where rows became vectors also their cosine to the source's, if those are as wide. Surprise is counted by the
    source's tokens: a result that cuts the same texts into more tokens is not less surprised by them.
    """
    scores = dict(result.scores)
    if PERPLEXITY in scores and PERPLEXITY in source.scores:
        scores[PERPLEXITY] = replace(scores[PERPLEXITY], denominator=source.scores[PERPLEXITY].denominator)
    if source.vectors is None or result.vectors is None or source.vectors.shape != result.vectors.shape:
        return scores
    return {**scores, "cosine": cosine(source.vectors, result.vectors).of_rows(result.vector_rows)}


Outputs = Sequence[tuple[Arrays, Arrays]]
"""Per call of a component: the outputs of the source and of the result."""


def compare_outputs(outputs: Mapping[str, Outputs]) -> dict[str, ItemScores]:
    """Without data: how near the outputs of every component are to the source's, on the same inputs.

    `cosine` is the lowest of all components, calls and outputs: a mean would hide a component that is ruined, and large
    outputs would hide small ones beside them. Of several components each also has its own, `encoder_model/cosine`.
    `logit_kl` is the mean divergence where there are logits. Outputs that only one side has, or has in another shape or
    type, say nothing: those of layers that were dropped, of heads that went, of a cache in int8.

    Args:
        outputs: component -> the outputs of its calls.

    Raises:
        DataError: No output can be compared.
    """
    cosines: dict[str, list[float]] = {}
    logits: list[tuple[Any, Any]] = []
    for component, calls in outputs.items():
        for before, after in calls:
            names = [name for name in sorted(before) if name in after and _is_comparable(before[name], after[name])]
            scores = cosine([before[name] for name in names], [after[name] for name in names])
            cosines.setdefault(component, []).extend(scores.numerator)
            if "logits" in names:
                logits.append((before["logits"], after["logits"]))
    cosines = {component: values for component, values in cosines.items() if values}
    if not cosines:
        raise DataError("no output of the result has the shape it had", hint="give --data to judge the task")
    every = [value for values in cosines.values() for value in values]
    scores_by_name = {"cosine": ItemScores.mean_of("cosine", every, lowest)}
    if logits:
        scores_by_name["logit_kl"] = logit_kl([pair[0] for pair in logits], [pair[1] for pair in logits])
    if len(outputs) > 1:
        for component, values in cosines.items():
            name = f"{component}/cosine"
            scores_by_name[name] = ItemScores.mean_of(name, values, lowest)
    return scores_by_name


def _is_comparable(before: Array, after: Array) -> bool:
    return before.shape == after.shape and before.dtype == after.dtype and before.size > 0
