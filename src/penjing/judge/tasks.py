"""Every task that can be judged: what its rows must have, what is measured, how a runner is scored."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any

from penjing.data.row import Row
from penjing.data.shifts.inputs import InputsOf
from penjing.data.shifts.registry import Modality
from penjing.errors import DataError
from penjing.evaluate.catalogue import RECALL_AT
from penjing.evaluate.interval import ItemScores
from penjing.evaluate.labels import check_labels, evaluate_labels
from penjing.evaluate.language import evaluate_language
from penjing.evaluate.retrieval import cosine_scores
from penjing.evaluate.sentences import check_scores, evaluate_sentences, sentence_metrics
from penjing.evaluate.tasks import Progress, evaluate_retrieval, evaluate_speech, evaluate_zero_shot, of_rows
from penjing.judge.multimodal import MultimodalJudge, check_uses, multimodal_metrics, spoken_words, use
from penjing.judge.sight import USES, fitting, judge_sight, look, sight_metrics
from penjing.runtimes.transcription import NO_FILTER
from penjing.values import FloatArray

SPEED_ROWS = 8
"""Rows that items are timed on, one after the other."""
WINDOW_TOKENS = 2048
"""Longest window of text that perplexity is measured in; models may read more."""
CONTEXT_TOKENS = 128
"""Tokens of a text that a language model has read when the time of one more is taken."""


@dataclass(frozen=True, slots=True)
class Judged:
    """Scores by metric name, and what was said of each row where the task says something."""

    scores: Mapping[str, ItemScores]
    transcripts: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """id -> (reference, hypothesis)"""
    vectors: FloatArray | None = None
    """(rows, width), where a result's are compared with its source's"""
    vector_rows: tuple[str, ...] = ()
    """Ids of the rows that `vectors` are of."""


@dataclass(frozen=True, slots=True)
class Task:
    """How a task is judged: what its rows must have, what it measures on them, and the scores of a runner.

    `check` takes the labels that the model knows besides; only classifiers have any. `item` gives a function that runs
    the task on the next of the first rows each time it is called, to be timed. `inputs` names the columns that the
    model reads of a row, by modality (see `penjing.data.shifts.inputs`); what a row is judged against is no input.
    """

    check: Callable[[Sequence[Row], Sequence[str]], object]
    metrics: Callable[[Sequence[Row]], tuple[str, ...]]
    score: Callable[[Any, Sequence[Row], Progress | None], Judged]
    item: Callable[[Any, Sequence[Row]], Callable[[], object]]
    inputs: InputsOf


def media_inputs(row: Row) -> dict[Modality, tuple[str, ...]]:
    """Return the media of a row: what a task reads that is judged by texts or labels."""
    inputs: dict[Modality, tuple[str, ...]] = {}
    if row.image is not None:
        inputs["image"] = ("file",)
    if row.sound is not None:
        inputs["audio"] = ("file",) if row.media == "audio" else ("spoken",)
    return inputs


def text_inputs(row: Row) -> dict[Modality, tuple[str, ...]]:
    """Return the texts of a row: what a task reads that is fed with texts."""
    columns = tuple(column for column in ("text", "text2") if column in row.fields)
    return {"text": columns} if columns else {}


def retrieval_inputs(row: Row) -> dict[Modality, tuple[str, ...]]:
    """Return both sides of a pair, media and caption; the media alone where a label is to be named."""
    return media_inputs(row) if "label" in row.fields else {**media_inputs(row), **text_inputs(row)}


def question_inputs(row: Row) -> dict[Modality, tuple[str, ...]]:
    """Return the media of a row, and its question where that is typed."""
    typed = "question" in row.fields and row.sound is None
    return {**media_inputs(row), **({"text": ("question",)} if typed else {})}


def classifier_inputs(row: Row) -> dict[Modality, tuple[str, ...]]:
    """Return the image of a row, or its texts."""
    return media_inputs(row) or text_inputs(row)


def transcribe_row(runner: Any, row: Row) -> str:
    """Read the clip and transcribe it, in the language that the row names."""
    if row.file is None:
        raise DataError(f"row {row.id!r} has no sound", hint="this task is judged by clips with a `text`")
    text: str = runner.transcribe(row.file, row.fields.get("language"), speech_filter=NO_FILTER).text
    return text


def _each(use_row: Callable[[Any, Row], object]) -> Callable[[Any, Sequence[Row]], Callable[[], object]]:
    """The first rows, one after the other and again."""

    def item(runner: Any, rows: Sequence[Row]) -> Callable[[], object]:
        turns = cycle(rows[:SPEED_ROWS])
        return lambda: use_row(runner, next(turns))

    return item


def _one_token(runner: Any, rows: Sequence[Row]) -> Callable[[], object]:
    """One more token behind a text."""
    tokens = runner.tokens(rows[0].fields["text"])[:CONTEXT_TOKENS]
    runner.begin(tokens)
    return lambda: runner.write_one(tokens[-1])


def _column(name: str) -> Callable[[Sequence[Row], Sequence[str]], None]:
    """Every row must have this column."""

    def check(rows: Sequence[Row], labels: Sequence[str]) -> None:
        for row in rows:
            if name not in row.fields:
                raise DataError(f"row {row.id!r} has no {name!r}", hint=f"this task is judged by the column {name!r}")

    return check


def _speech(runner: Any, rows: Sequence[Row], progress: Progress | None) -> Judged:
    found = evaluate_speech(lambda row: transcribe_row(runner, row), rows, progress=progress)
    return Judged(found.scores, {item.id: (item.reference, item.hypothesis) for item in found.transcripts})


def _language(runner: Any, rows: Sequence[Row], progress: Progress | None) -> Judged:
    texts = [runner.tokens(row.fields["text"]) for row in rows]
    return Judged(
        of_rows(evaluate_language(texts, runner.logits, min(runner.context_tokens, WINDOW_TOKENS), progress), rows)
    )


def _multimodal(runner: Any, rows: Sequence[Row], progress: Progress | None) -> Judged:
    """By everything that the rows can be used for."""
    judge_rows = MultimodalJudge(runner, progress)
    scores = judge_rows(rows)
    words = {row.id: spoken_words(row) for row in rows}
    return Judged(scores, {name: (words[name], heard) for name, heard in judge_rows.heard.items()})


def classify_row(runner: Any, row: Row) -> object:
    """The label of one row."""
    return runner.classify_row(row)


def embed_row(runner: Any, row: Row) -> object:
    """The vector of one row."""
    return runner.embed_rows([row])


def _is_labelled(rows: Sequence[Row]) -> bool:
    return bool(rows) and "label" in rows[0].fields


def _check_dual(rows: Sequence[Row], labels: Sequence[str]) -> None:
    _column("label" if _is_labelled(rows) else "text")(rows, labels)


def _dual_metrics(rows: Sequence[Row]) -> tuple[str, ...]:
    if _is_labelled(rows):
        return ("accuracy",)
    media = next((row.media for row in rows if row.media), "image")
    ways = (f"{media}_to_text", f"text_to_{media}")
    recalls = [f"{way}recall_at_{k}" for way in ("", *(f"{way}_" for way in ways)) for k in RECALL_AT]
    return (*recalls, *(f"{way}_median_rank" for way in ways))


def _dual(runner: Any, rows: Sequence[Row], progress: Progress | None) -> Judged:
    """Retrieval by `text`; zero-shot accuracy where rows have a `label`."""
    evaluate = evaluate_zero_shot if _is_labelled(rows) else evaluate_retrieval
    scored = getattr(runner, "scores", cosine_scores)
    return Judged(evaluate(runner.embed_rows, runner.embed_texts, rows, progress=progress, scored=scored))


def _sentences(runner: Any, rows: Sequence[Row], progress: Progress | None) -> Judged:
    scores, vectors = evaluate_sentences(runner.embed_texts, rows, progress)
    return Judged(scores, vectors=vectors, vector_rows=tuple(row.id for row in rows))


def _labels(runner: Any, rows: Sequence[Row], progress: Progress | None) -> Judged:
    return Judged(evaluate_labels(lambda row: runner.classify_row(row).label, runner.labels, rows, progress))


def _sight(task: str) -> Task:
    """A task that talks about pictures."""
    return Task(
        lambda rows, labels: sight_metrics(task, rows),
        lambda rows: sight_metrics(task, rows),
        lambda runner, rows, progress: Judged(*judge_sight(runner, rows, progress)),
        lambda runner, rows: _each(look)(runner, fitting(task, rows)),
        question_inputs,
    )


TASKS: Mapping[str, Task] = {
    "speech-seq2seq": Task(_column("text"), lambda rows: ("wer", "cer"), _speech, _each(transcribe_row), media_inputs),
    "causal-lm": Task(_column("text"), lambda rows: ("perplexity",), _language, _one_token, text_inputs),
    "dual-encoder": Task(_check_dual, _dual_metrics, _dual, _each(embed_row), retrieval_inputs),
    "multimodal": Task(
        lambda rows, labels: check_uses(rows), multimodal_metrics, _multimodal, _each(use), question_inputs
    ),
    "encoder": Task(
        lambda rows, labels: check_scores(rows), sentence_metrics, _sentences, _each(embed_row), text_inputs
    ),
    "classifier": Task(check_labels, lambda rows: ("accuracy",), _labels, _each(classify_row), classifier_inputs),
    **{task: _sight(task) for task in USES},
}
"""Every task that can be judged."""


def task_of(name: str) -> Task:
    """How a task is judged; a task that cannot be is an error."""
    if name not in TASKS:
        raise DataError(f"the task {name!r} cannot be judged yet", hint="compare outputs: leave --data away")
    return TASKS[name]
