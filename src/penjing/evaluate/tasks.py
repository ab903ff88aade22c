"""Tasks: from functions and rows to scored items. The same code judges PyTorch, ONNX Runtime and OpenVINO."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from penjing.data.row import Row
from penjing.errors import DataError
from penjing.evaluate.interval import ItemScores
from penjing.evaluate.retrieval import Matrix, Scored, cosine_scores, retrieval_scores, zero_shot_hits
from penjing.evaluate.words import speech_scores

Progress = Callable[[int, int], None]
"""Called with (items done, items in all)."""

EmbedRows = Callable[[Sequence[Row]], Matrix]
EmbedTexts = Callable[[Sequence[str]], Matrix]


@dataclass(frozen=True, slots=True)
class Transcript:
    """What was said and what was heard in one row."""

    id: str
    reference: str
    hypothesis: str


@dataclass(frozen=True, slots=True)
class SpeechEvaluation:
    """Scores (`wer`, `cer`) and the transcripts behind them, in the order of the rows."""

    scores: dict[str, ItemScores]
    transcripts: tuple[Transcript, ...]


def evaluate_speech(
    transcribe: Callable[[Row], str], rows: Sequence[Row], language: str = "en", progress: Progress | None = None
) -> SpeechEvaluation:
    """Transcribe every row and count its errors against its `text`. A row's own `language` goes before `language`."""
    references = [_field(row, "text") for row in rows]
    heard: list[str] = []
    for done, row in enumerate(rows, 1):
        heard.append(transcribe(row))
        _tell(progress, done, len(rows))
    scores = of_rows(speech_scores(references, heard, [row.fields.get("language") or language for row in rows]), rows)
    found = zip(rows, references, heard, strict=True)
    return SpeechEvaluation(scores, tuple(Transcript(row.id, told, text) for row, told, text in found))


def evaluate_retrieval(
    embed_items: EmbedRows,
    embed_texts: EmbedTexts,
    rows: Sequence[Row],
    batch: int = 16,
    progress: Progress | None = None,
    scored: Scored = cosine_scores,
) -> dict[str, ItemScores]:
    """Find each row's picture (or sound) by its text and back. Equal texts count as one, and so do rows of one file."""
    texts, text_of = _distinct([_field(row, "text") for row in rows])
    items, item_of = _distinct([_media_key(row) for row in rows])
    first = [rows[item_of.index(index)] for index in range(len(items))]
    total = len(first) + len(texts)
    item_vectors = _in_batches(embed_items, first, batch, lambda done: _tell(progress, done, total))
    text_vectors = _in_batches(embed_texts, texts, batch, lambda done: _tell(progress, len(first) + done, total))
    pairs = np.stack([np.array(item_of, dtype=np.int64), np.array(text_of, dtype=np.int64)], axis=1)
    media = next((row.media for row in rows if row.media), "image")
    scores = retrieval_scores(scored(item_vectors, text_vectors), pairs, media)
    queries = {
        f"{media}_to_text": [row.id for row in first],
        f"text_to_{media}": [rows[text_of.index(index)].id for index in range(len(texts))],
    }
    ids = [row.id for row in rows]
    return {
        name: score.of_rows(next((row_ids for way, row_ids in queries.items() if name.startswith(way)), ids))
        for name, score in scores.items()
    }


def evaluate_zero_shot(
    embed_items: EmbedRows,
    embed_texts: EmbedTexts,
    rows: Sequence[Row],
    template: str = "{}",
    progress: Progress | None = None,
    scored: Scored = cosine_scores,
) -> dict[str, ItemScores]:
    """Name each row's `label` by the nearest of all labels' texts; `template` makes a text of a label."""
    labels, label_of = _distinct([_field(row, "label") for row in rows])
    classes = _in_batches(embed_texts, [template.replace("{}", label) for label in labels], 16, lambda done: None)
    items = _in_batches(embed_items, rows, 16, lambda done: _tell(progress, done, len(rows)))
    hits = zero_shot_hits(items, classes, np.array(label_of, dtype=np.int64), scored)
    return of_rows({"accuracy": ItemScores.mean_of("accuracy", hits)}, rows)


def evaluate_classification(
    classify: Callable[[Row], str], rows: Sequence[Row], progress: Progress | None = None
) -> dict[str, ItemScores]:
    """Compare the label a function gives each row with the row's own `label`."""
    hits = []
    for done, row in enumerate(rows, 1):
        hits.append(classify(row) == _field(row, "label"))
        _tell(progress, done, len(rows))
    return of_rows({"accuracy": ItemScores.mean_of("accuracy", hits)}, rows)


def of_rows(scores: Mapping[str, ItemScores], rows: Sequence[Row]) -> dict[str, ItemScores]:
    """Return scores whose items are the rows, one for one, with the ids of these rows."""
    ids = [row.id for row in rows]
    return {name: score.of_rows(ids) for name, score in scores.items()}


def _field(row: Row, name: str) -> str:
    """Read a text column, or say which row lacks it."""
    if name not in row.fields:
        raise DataError(f"row {row.id!r} has no {name!r}", hint=f"this task is judged by the column {name!r}")
    return row.fields[name]


def _media_key(row: Row) -> str:
    """What makes two rows show the same picture: their path; encoded bytes are never compared."""
    return str(row.file) if row.file is not None and not isinstance(row.file, bytes) else f"id:{row.id}"


def _distinct(values: Sequence[str]) -> tuple[list[str], list[int]]:
    """List different values in order of appearance, and for each value its index in that list."""
    places: dict[str, int] = {}
    index = [places.setdefault(value, len(places)) for value in values]
    return list(places), index


def _in_batches(
    embed: Callable[[Any], Matrix], values: Sequence[Any], batch: int, done: Callable[[int], None]
) -> Matrix:
    """Embed values batch by batch -> (values, width)."""
    if not values:
        raise DataError("nothing to judge by", hint="the judge part of the data is empty")
    parts = []
    for start in range(0, len(values), batch):
        parts.append(embed(values[start : start + batch]))
        done(min(start + batch, len(values)))
    return np.concatenate(parts)


def _tell(progress: Progress | None, done: int, total: int) -> None:
    """Report progress where somebody listens."""
    if progress is not None:
        progress(done, total)
