"""Score a runner on rows by the metrics of its task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from penjing.data.row import Row
from penjing.errors import DataError
from penjing.evaluate.interval import ItemScores
from penjing.evaluate.similarity import cosine, logit_kl
from penjing.evaluate.tasks import Progress
from penjing.judge.tasks import Judged, task_of
from penjing.runtimes.engine import Graph
from penjing.values import Arrays

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


Fed = tuple[Graph, Arrays]
"""A graph and what it is fed."""


def compare_outputs(pairs: Sequence[tuple[Fed, Fed]]) -> dict[str, ItemScores]:
    """Without data: cosine of every component's outputs on synthetic inputs, and divergence where there are logits.

    `pairs` are source and result. Outputs that only one has, or has in another shape, say nothing: those of layers that
    were dropped, of heads that went.
    """
    sources: list[Any] = []
    results: list[Any] = []
    logits: list[tuple[Any, Any]] = []
    for (source, source_inputs), (result, result_inputs) in pairs:
        before, after = source(source_inputs), result(result_inputs)
        alike = [name for name in sorted(before) if name in after and before[name].shape == after[name].shape]
        if not alike:
            continue
        sources.append(np.concatenate([before[name].ravel() for name in alike]))
        results.append(np.concatenate([after[name].ravel() for name in alike]))
        if "logits" in before:
            logits.append((before["logits"], after["logits"]))
    if not sources:
        raise DataError("no output of the result has the shape it had", hint="give --data to judge the task")
    scores = {"cosine": cosine(sources, results)}
    if logits:
        scores["logit_kl"] = logit_kl([pair[0] for pair in logits], [pair[1] for pair in logits])
    return scores
