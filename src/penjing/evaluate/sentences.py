"""Encoders of texts by pairs of texts that people scored: does the cosine order the pairs as people did?"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from penjing.data.row import Row
from penjing.errors import DataError
from penjing.evaluate.interval import ItemScores
from penjing.evaluate.ranking import spearman
from penjing.evaluate.tasks import Progress, of_rows
from penjing.values import FloatArray

ROWS_AT_ONCE = 16

EmbedTexts = Callable[[Sequence[str]], FloatArray]
"""Texts -> (texts, width) unit vectors."""


def check_scores(rows: Sequence[Row]) -> None:
    """Refuse rows without a text and, where the first row has a score, without a second text and a number."""
    scored = bool(rows) and "score" in rows[0].fields
    for row in rows:
        for column in ("text", "text2", "score") if scored else ("text",):
            if column not in row.fields:
                raise DataError(
                    f"row {row.id!r} has no {column!r}",
                    hint="pairs of texts are judged by the columns text, text2 and score",
                )
        if scored:
            _number(row)


def sentence_metrics(rows: Sequence[Row]) -> tuple[str, ...]:
    """What is measured on these rows."""
    return ("spearman", "cosine") if "score" in rows[0].fields else ("cosine",)


def evaluate_sentences(
    embed: EmbedTexts, rows: Sequence[Row], progress: Progress | None = None
) -> tuple[dict[str, ItemScores], FloatArray]:
    """`spearman` of cosine and `score` where rows have one, and the vectors of each row's texts side by side.

    A cosine that is no number ranks below all others: a ruined model orders nothing.
    """
    scored = "score" in rows[0].fields
    columns = ("text", "text2") if scored else ("text",)
    parts: list[list[FloatArray]] = [[] for _ in columns]
    for start in range(0, len(rows), ROWS_AT_ONCE):
        some = rows[start : start + ROWS_AT_ONCE]
        for column, part in zip(columns, parts, strict=True):
            part.append(embed([row.fields[column] for row in some]))
        if progress is not None:
            progress(start + len(some), len(rows))
    vectors = [np.concatenate(part) for part in parts]
    beside = np.concatenate(vectors, axis=1)
    if not scored:
        return {}, beside
    cosines = (vectors[0].astype(np.float64) * vectors[1]).sum(axis=1)
    finite = np.where(np.isfinite(cosines), cosines, -np.inf)
    scores = np.array([_number(row) for row in rows])
    return of_rows({"spearman": ItemScores("spearman", finite, scores, spearman)}, rows), beside


def _number(row: Row) -> float:
    """The score of a row."""
    try:
        value = float(row.fields["score"])
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DataError(f"row {row.id!r}: the score {row.fields['score']!r} is no number", hint="give numbers")
    return value
