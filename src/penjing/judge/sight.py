"""A model that talks about pictures is judged by its captions and by its answers, each by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from penjing.data.row import Row
from penjing.errors import DataError
from penjing.evaluate.answers import answer_scores, caption_scores
from penjing.evaluate.interval import ItemScores
from penjing.evaluate.tasks import Progress, of_rows

USES: Mapping[str, tuple[str, ...]] = {
    "image-text-to-text": ("caption", "vqa"),
    "image-to-text": ("caption",),
    "visual-question-answering": ("vqa",),
}
"""What the tasks that talk about pictures can be used for."""
METRICS: Mapping[str, tuple[str, ...]] = {"caption": ("bleu", "chrf"), "vqa": ("accuracy",)}
"""What each use of a row is measured by."""


def use_of(row: Row) -> str:
    """What a row is for: `vqa` where something is asked, `caption` where something is told; others are refused."""
    asked = "question" in row.fields
    missing = "image" if row.image is None else "answer" if asked and "answer" not in row.fields else ""
    if not missing and not asked and "text" not in row.fields:
        missing = "text"
    if missing:
        raise DataError(
            f"row {row.id!r} has no {missing!r}",
            hint="give every picture a `text`, or a `question` and an `answer`",
        )
    return "vqa" if asked else "caption"


def is_read(task: str, row: Row) -> bool:
    """Return whether a task reads a row: of captions and questions it may be for one alone; other tasks read all."""
    return task not in USES or use_of(row) in USES[task]


def fitting(task: str, rows: Sequence[Row]) -> list[Row]:
    """The rows that a task can be judged by; having none is an error, and so is a row that is for nothing."""
    found = [row for row in rows if use_of(row) in USES[task]]
    if not found:
        needed = " or ".join("a `text`" if use == "caption" else "a `question` and an `answer`" for use in USES[task])
        raise DataError(f"no row to judge {task} by", hint=f"give pictures with {needed}")
    return found


def sight_metrics(task: str, rows: Sequence[Row]) -> tuple[str, ...]:
    """Names of the metrics that `judge_sight` gives for these rows."""
    there = {use_of(row) for row in fitting(task, rows)}
    return tuple(f"{use}/{name}" for use, names in METRICS.items() if use in there for name in names)


def judge_sight(
    runner: Any, rows: Sequence[Row], progress: Progress | None = None
) -> tuple[dict[str, ItemScores], dict[str, tuple[str, str]]]:
    """Scores by `task/metric`, and of each row what was wanted and what was said.

    Rows of one picture share its caption: their texts are the references that it is held against, all of them at once.
    """
    rows = fitting(runner.task, rows)
    told = _references([row for row in rows if use_of(row) == "caption"])
    asked = [row for row in rows if use_of(row) == "vqa"]
    said: list[str] = []
    for row in (*(row for row, _ in told), *asked):
        said.append(look(runner, row))
        if progress:
            progress(len(said), len(told) + len(asked))
    captions, answers = said[: len(told)], said[len(told) :]
    scores: dict[str, ItemScores] = {}
    if told:
        found = caption_scores(captions, [texts for _, texts in told])
        scores |= {f"caption/{name}": score for name, score in of_rows(found, [row for row, _ in told]).items()}
    if asked:
        hits = answer_scores(answers, [row.fields["answer"] for row in asked])
        scores |= {f"vqa/{name}": score for name, score in of_rows(hits, asked).items()}
    heard = {row.id: (texts[0], text) for (row, texts), text in zip(told, captions, strict=True)}
    heard |= {row.id: (row.fields["answer"], text) for row, text in zip(asked, answers, strict=True)}
    return scores, heard


def _references(rows: Sequence[Row]) -> list[tuple[Row, list[str]]]:
    """The first row of each picture and the texts of all of them, in order of appearance."""
    found: dict[Any, tuple[Row, list[str]]] = {}
    for row in rows:
        found.setdefault(row.image, (row, []))[1].append(row.fields["text"])
    return list(found.values())


def look(runner: Any, row: Row) -> str:
    """What the model says to what one row is for."""
    asked = use_of(row) == "vqa"
    said: str = runner.ask(row.image, row.fields["question"]) if asked else runner.caption(row.image)
    return said
