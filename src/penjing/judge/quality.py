"""Score a runner on rows by the metrics of its task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from penjing.data.row import Row
from penjing.errors import DataError
from penjing.evaluate.catalogue import RECALL_AT
from penjing.evaluate.interval import ItemScores
from penjing.evaluate.labels import check_labels, evaluate_labels
from penjing.evaluate.language import evaluate_language
from penjing.evaluate.sentences import check_scores, evaluate_sentences
from penjing.evaluate.similarity import cosine, logit_kl
from penjing.evaluate.tasks import Progress, evaluate_retrieval, evaluate_speech, evaluate_zero_shot
from penjing.judge.multimodal import MultimodalJudge, check_uses, multimodal_metrics, spoken_words
from penjing.judge.sight import USES, judge_sight, sight_metrics
from penjing.runtimes.engine import Graph
from penjing.values import Arrays, FloatArray


@dataclass(frozen=True, slots=True)
class Judged:
    """Scores by metric name, and what was said of each row where the task says something."""

    scores: Mapping[str, ItemScores]
    transcripts: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """id -> (reference, hypothesis)"""
    vectors: FloatArray | None = None
    """(rows, width), where a result's are compared with its source's"""


def check_media(settings: Mapping[str, Any], rows: Sequence[Row]) -> None:
    """Refuse rows without the picture, the sound or the text that a model runs on."""
    if "image" not in settings and "audio" not in settings:
        lacking = next((row for row in rows if settings.get("text") and not row.fields.get("text")), None)
        if lacking is not None:
            raise DataError(f"row {lacking.id!r} has no text", hint="this model is fed with a column `text`")
        return
    both = bool(settings.get("image") and settings.get("audio"))
    media = "image or sound" if both else "image" if settings.get("image") else "audio"
    for row in rows:
        if row.file is not None and both:
            continue
        if row.file is None or row.media != media:
            raise DataError(f"row {row.id!r} has no {media}", hint=f"this model is fed with {media} files")


def check_answers(task: str, rows: Sequence[Row], labels: Sequence[str] = ()) -> None:
    """Refuse rows without the right answer that a task is judged by; `labels` are those that a classifier knows."""
    if task == "multimodal":
        check_uses(rows)
        return
    if task in USES:
        sight_metrics(task, rows)
        return
    if task == "encoder":
        check_scores(rows)
        return
    if task == "classifier":
        check_labels(rows, labels)
        return
    column = "label" if task == "dual-encoder" and rows and "label" in rows[0].fields else "text"
    for row in rows:
        if column not in row.fields:
            raise DataError(f"row {row.id!r} has no {column!r}", hint=f"this task is judged by the column {column!r}")


def metric_names(task: str, rows: Sequence[Row]) -> tuple[str, ...]:
    """What `judge` will measure on these rows, without running anything."""
    if task == "speech-seq2seq":
        return ("wer", "cer")
    if task == "causal-lm":
        return ("perplexity",)
    if task == "multimodal":
        return multimodal_metrics(rows)
    if task in USES:
        return sight_metrics(task, rows)
    if task == "encoder":
        return ("spearman", "cosine") if "score" in rows[0].fields else ("cosine",)
    if task == "classifier" or "label" in rows[0].fields:
        return ("accuracy",)
    media = next((row.media for row in rows if row.media), "image")
    ways = (f"{media}_to_text", f"text_to_{media}")
    recalls = [f"{way}recall_at_{k}" for way in ("", *(f"{way}_" for way in ways)) for k in RECALL_AT]
    return (*recalls, *(f"{way}_median_rank" for way in ways))


def judge(runner: Any, rows: Sequence[Row], progress: Progress | None = None) -> Judged:
    """Run the task on every row and score it. Retrieval by `text`; zero-shot accuracy where rows have a `label`.

    A model of many modalities is judged by everything that its rows can be used for.
    """
    if not rows:
        raise DataError("no rows to judge by", hint="give more data")
    if runner.task == "speech-seq2seq":
        found = evaluate_speech(lambda row: transcribe_row(runner, row), rows, progress=progress)
        said = {item.id: (item.reference, item.hypothesis) for item in found.transcripts}
        return Judged(found.scores, said)
    if runner.task == "dual-encoder":
        evaluate = evaluate_zero_shot if "label" in rows[0].fields else evaluate_retrieval
        return Judged(evaluate(runner.embed_rows, runner.embed_texts, rows, progress=progress))
    if runner.task == "causal-lm":
        texts = [runner.tokens(row.fields["text"]) for row in rows]
        return Judged(evaluate_language(texts, runner.logits, runner.context_tokens, progress))
    if runner.task == "classifier":
        return Judged(evaluate_labels(lambda row: runner.classify_row(row).label, runner.labels, rows, progress))
    if runner.task == "encoder":
        scores, vectors = evaluate_sentences(runner.embed_texts, rows, progress)
        return Judged(scores, vectors=vectors)
    if runner.task == "multimodal":
        judge_rows = MultimodalJudge(runner, progress)
        scores = judge_rows(rows)
        words = {row.id: spoken_words(row) for row in rows}
        return Judged(scores, {name: (words[name], heard) for name, heard in judge_rows.heard.items()})
    if runner.task in USES:
        return Judged(*judge_sight(runner, rows, progress))
    raise DataError(f"the task {runner.task!r} cannot be judged yet", hint="compare outputs: leave --data away")


def liken(source: Judged, result: Judged) -> Mapping[str, ItemScores]:
    """The scores of a result; where rows became vectors also their cosine to the source's, if those are as wide."""
    if source.vectors is None or result.vectors is None or source.vectors.shape != result.vectors.shape:
        return result.scores
    return {**result.scores, "cosine": cosine(source.vectors, result.vectors)}


def transcribe_row(runner: Any, row: Row) -> str:
    """Read the clip and transcribe it, in the language that the row names."""
    if row.file is None:
        raise DataError(f"row {row.id!r} has no sound", hint="this task is judged by clips with a `text`")
    text: str = runner.transcribe(row.file, row.fields.get("language")).text
    return text


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
