"""Score a runner on rows by the metrics of its task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from penjing.data.row import Row
from penjing.errors import DataError
from penjing.evaluate.interval import ItemScores
from penjing.evaluate.similarity import cosine, logit_kl
from penjing.evaluate.tasks import Progress
from penjing.judge.tasks import Judged, task_of
from penjing.values import Array, Arrays

PERPLEXITY = "perplexity"
LOGITS = "logits"


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


Outputs = Mapping[str, Sequence[tuple[Arrays, Arrays]]]
"""component -> outputs of the source and of the result, per call: on one draw of inputs."""


def compare_outputs(draws: Sequence[Outputs]) -> dict[str, ItemScores]:
    """Without data: how near the outputs of every component are to the source's, on the same inputs.

    The items are the draws. A draw's `cosine` is the lowest of all components, calls and outputs: a mean would hide a
    component that is ruined, and large outputs would hide small ones beside them. Of several components each also has
    its own, `encoder_model/cosine`. `logit_kl` is the divergence where there are logits. Outputs that only one side
    has, or has in another shape or type, say nothing: those of layers that were dropped, of heads that went, of a cache
    in int8.

    Args:
        draws: The outputs of every component, for differently seeded inputs.

    Raises:
        DataError: No output can be compared.
    """
    lowest: list[float] = []
    cosines: dict[str, list[float]] = {}
    logits: list[tuple[Array, Array]] = []
    for outputs in draws:
        of_draw: list[float] = []
        for component, calls in outputs.items():
            pairs = [pair for before, after in calls for pair in _comparable(before, after)]
            if pairs:
                scores = cosine(*zip(*pairs, strict=True))
                of_draw.append(float(scores.numerator.min()))
                cosines.setdefault(component, []).append(of_draw[-1])
            logits += [(before[LOGITS], after[LOGITS]) for before, after in calls if _has_logits(before, after)]
        lowest += [min(of_draw)] if of_draw else []
    if not lowest:
        raise DataError("no output of the result has the shape it had", hint="give --data to judge the task")
    scores_by_name = {"cosine": ItemScores.mean_of("cosine", lowest)}
    if logits:
        scores_by_name["logit_kl"] = logit_kl(*zip(*logits, strict=True))
    if len(cosines) > 1:
        for component, values in cosines.items():
            name = f"{component}/cosine"
            scores_by_name[name] = ItemScores.mean_of(name, values)
    return scores_by_name


def _comparable(before: Arrays, after: Arrays) -> list[tuple[Array, Array]]:
    """Outputs that both sides have in the same shape and type."""
    pairs = [(before[name], after[name]) for name in sorted(before.keys() & after.keys())]
    return [(one, other) for one, other in pairs if one.shape == other.shape and one.dtype == other.dtype and one.size]


def _has_logits(before: Arrays, after: Arrays) -> bool:
    return LOGITS in before and LOGITS in after and before[LOGITS].shape == after[LOGITS].shape
