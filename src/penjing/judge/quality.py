"""Score a runner on rows by the metrics of its task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from penjing.data.row import Row
from penjing.errors import DataError
from penjing.evaluate.interval import ItemScores
from penjing.evaluate.similarity import cosine, logit_kl
from penjing.evaluate.tasks import Progress, evaluate_retrieval, evaluate_speech, evaluate_zero_shot
from penjing.runtimes.engine import Graph
from penjing.values import Arrays

TASK_FIELDS = {"speech-seq2seq": "text", "dual-encoder": "text"}


@dataclass(frozen=True, slots=True)
class Judged:
    """Scores by metric name, and what was said of each row where the task says something."""

    scores: Mapping[str, ItemScores]
    transcripts: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """id -> (reference, hypothesis)"""


def judge(runner: Any, rows: Sequence[Row], progress: Progress | None = None) -> Judged:
    """Run the task on every row and score it. Retrieval by `text`; zero-shot accuracy where rows have a `label`."""
    if not rows:
        raise DataError("no rows to judge by", hint="give more data")
    if runner.task == "speech-seq2seq":
        found = evaluate_speech(lambda row: transcribe_row(runner, row), rows, progress=progress)
        said = {item.id: (item.reference, item.hypothesis) for item in found.transcripts}
        return Judged(found.scores, said)
    if runner.task == "dual-encoder":
        evaluate = evaluate_zero_shot if "label" in rows[0].fields else evaluate_retrieval
        return Judged(evaluate(runner.embed_rows, runner.embed_texts, rows, progress=progress))
    raise DataError(f"the task {runner.task!r} cannot be judged yet", hint="compare outputs: leave --data away")


def transcribe_row(runner: Any, row: Row) -> str:
    """Read the clip and transcribe it window by window, as the application does."""
    from penjing.data.audio import read_audio
    from penjing.data.windows import windows

    if row.file is None:
        raise DataError(f"row {row.id!r} has no sound", hint="this task is judged by clips with a `text`")
    samples = read_audio(row.file, runner.sampling_rate_hz)
    language = row.fields.get("language")
    parts = [runner.transcribe(samples[a:b], language).text for a, b in windows(samples, runner.sampling_rate_hz)]
    return " ".join(part for part in parts if part)


def compare_outputs(pairs: Sequence[tuple[Graph, Graph, Arrays]]) -> dict[str, ItemScores]:
    """Without data: cosine of every component's outputs on synthetic inputs, and divergence where there are logits.

    `pairs` are (source graph, result graph, inputs).
    """
    sources: list[Any] = []
    results: list[Any] = []
    logits: list[tuple[Any, Any]] = []
    for source, result, inputs in pairs:
        before, after = source(inputs), result(inputs)
        sources.append(np.concatenate([before[name].ravel() for name in sorted(before)]))
        results.append(np.concatenate([after[name].ravel() for name in sorted(before)]))
        if "logits" in before:
            logits.append((before["logits"], after["logits"]))
    scores = {"cosine": cosine(sources, results)}
    if logits:
        scores["logit_kl"] = logit_kl([pair[0] for pair in logits], [pair[1] for pair in logits])
    return scores
