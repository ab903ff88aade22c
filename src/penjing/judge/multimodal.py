"""A model of many modalities is judged by everything that its rows can be used for, one metric per use."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from penjing.data.row import Row
from penjing.errors import DataError
from penjing.evaluate.catalogue import RECALL_AT
from penjing.evaluate.interval import ItemScores
from penjing.evaluate.multimodal import evaluate_answers, evaluate_directions, evaluate_truth
from penjing.evaluate.retrieval import cosine_scores
from penjing.evaluate.tasks import Progress, of_rows
from penjing.evaluate.words import speech_scores
from penjing.runtimes.transcription import NO_FILTER

MODALITIES = ("image", "text", "audio")


def _is_told(row: Row) -> bool:
    """Whether it has a text and something that the text is about."""
    return "text" in row.fields and (row.image is not None or row.sound is not None)


def _is_asked(row: Row) -> bool:
    return row.image is not None and "question" in row.fields and "answer" in row.fields


WANTED: Mapping[str, Callable[[Row], bool]] = {
    "retrieval": _is_told,
    "caption": lambda row: row.image is not None and "scene" in row.fields,
    "vqa": lambda row: _is_asked(row) and row.sound is None,
    "spoken_vqa": lambda row: _is_asked(row) and row.sound is not None,
    "speech": lambda row: row.sound is not None and bool(spoken_words(row)),
    "new_speaker": lambda row: WANTED["speech"](row) and row.fields.get("speaker") == "new",
}
"""Which rows a task is judged by. `new_speaker` is `speech` again, of voices that the model was not trained on."""


METRICS = {
    "caption": ("truth",),
    "vqa": ("accuracy",),
    "spoken_vqa": ("accuracy",),
    "speech": ("wer", "cer"),
    "new_speaker": ("wer", "cer"),
}
"""What each use but retrieval is measured by."""


def spoken_words(row: Row) -> str:
    """What is said in a row's sound."""
    return row.fields.get("question") or row.fields.get("text") or ""


def uses(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """task -> the rows that it is judged by; tasks that have none are left out."""
    found = {name: [row for row in rows if wanted(row)] for name, wanted in WANTED.items()}
    return {name: chosen for name, chosen in found.items() if chosen}


def modalities(rows: Sequence[Row]) -> list[str]:
    """The modalities that all of these rows have."""
    have = {"image": lambda row: row.image, "text": lambda row: row.fields.get("text"), "audio": lambda row: row.sound}
    return [name for name in MODALITIES if all(have[name](row) for row in rows)]


def multimodal_metrics(rows: Sequence[Row]) -> tuple[str, ...]:
    """Names of the metrics that `judge_multimodal` gives for these rows."""
    names: list[str] = []
    for task, chosen in uses(rows).items():
        if task == "retrieval":
            there = modalities(chosen)
            ways = [f"{one}_to_{other}" for one in there for other in there if one != other]
            recalls = [f"{way}recall_at_{k}" for way in ("", *(f"{way}_" for way in ways)) for k in RECALL_AT]
            names += [f"{task}/{name}" for name in (*recalls, *(f"{way}_median_rank" for way in ways))]
        else:
            names += [f"{task}/{name}" for name in METRICS[task]]
    return tuple(names)


def check_uses(rows: Sequence[Row]) -> None:
    """Refuse rows that can be used for nothing."""
    for row in rows:
        if not any(wanted(row) for wanted in WANTED.values()):
            raise DataError(
                f"row {row.id!r} can be used for nothing",
                hint="give it a `text`, or a `question` and an `answer`, beside its picture or sound",
            )


class MultimodalJudge:
    """Scores a runner on rows. `heard` is what it heard in each row with a sound."""

    def __init__(self, runner: Any, progress: Progress | None = None) -> None:
        self.heard: dict[str, str] = {}
        self._runner, self._progress = runner, progress
        self._done = self._total = 0

    def __call__(self, rows: Sequence[Row]) -> dict[str, ItemScores]:
        """Scores by `task/metric`."""
        score = {
            "retrieval": self._retrieval,
            "caption": self._captions,
            "vqa": self._answers,
            "spoken_vqa": self._answers,
            "speech": self._speech,
            "new_speaker": self._speech,
        }
        chosen = uses(rows)
        self._total = sum(len(some) for some in chosen.values())
        return {
            f"{task}/{name}": scores
            for task, task_rows in chosen.items()
            for name, scores in of_rows(score[task](task_rows), task_rows).items()
        }

    def _each(self, function: Callable[[Row], Any], rows: Sequence[Row]) -> list[Any]:
        """What a function makes of each row, with progress told."""
        made = []
        for row in rows:
            made.append(function(row))
            self._done += 1
            if self._progress:
                self._progress(self._done, self._total)
        return made

    def _retrieval(self, rows: Sequence[Row]) -> dict[str, ItemScores]:
        wanted = modalities(rows)
        vectors = self._each(lambda row: embed(self._runner, row, wanted), rows)
        by_modality = {name: np.concatenate([one[name] for one in vectors]) for name in wanted}
        return evaluate_directions(by_modality, getattr(self._runner, "scores", cosine_scores))

    def _captions(self, rows: Sequence[Row]) -> dict[str, ItemScores]:
        return evaluate_truth(self._each(lambda row: self._runner.caption(row.image), rows), rows)

    def _answers(self, rows: Sequence[Row]) -> dict[str, ItemScores]:
        return evaluate_answers(self._each(lambda row: answer(self._runner, row), rows), rows)

    def _speech(self, rows: Sequence[Row]) -> dict[str, ItemScores]:
        heard = self._each(self._hear, rows)
        languages = [row.fields.get("language", "en") for row in rows]
        return speech_scores([spoken_words(row) for row in rows], heard, languages)

    def _hear(self, row: Row) -> str:
        if row.id not in self.heard:
            self.heard[row.id] = self._runner.transcribe(row.sound, speech_filter=NO_FILTER).text
        return self.heard[row.id]


def embed(runner: Any, row: Row, wanted: Sequence[str]) -> dict[str, Any]:
    """Vectors (1, width) of a row's modalities."""
    items = {"image": row.image, "text": row.fields.get("text"), "audio": row.sound}
    return {name: runner.embed([items[name]], name) for name in wanted}


def answer(runner: Any, row: Row) -> str:
    """What the model answers to a row's question: the spoken one where there is a sound."""
    said: str = runner.ask(row.image, row.fields["question"] if row.sound is None else row.sound)
    return said


def use(runner: Any, row: Row) -> None:
    """Run everything that one row can be used for, to take its time."""
    if WANTED["retrieval"](row):
        embed(runner, row, modalities([row]))
    if WANTED["caption"](row):
        runner.caption(row.image)
    if WANTED["vqa"](row) or WANTED["spoken_vqa"](row):
        answer(runner, row)
    if WANTED["speech"](row):
        runner.transcribe(row.sound, speech_filter=NO_FILTER)
