"""Judge source and result once more on shifted test rows: every row under one corruption, the same for both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penjing.data.row import Row
from penjing.data.shifts.rows import ShiftedSet, shifted_rows
from penjing.errors import DataError
from penjing.evaluate.catalogue import SHIFTED, TASK_METRICS
from penjing.evaluate.interval import ItemScores
from penjing.evaluate.slices import SliceResult, slice_result
from penjing.judge.tasks import task_of

KIND = "kind"
"""What stands for the column where rows are grouped by their corruption."""


@dataclass(frozen=True, slots=True)
class ShiftResult:
    """What the shifted rows gave: one line per metric and kind of corruption, and the rows that were left out.

    `left_out` holds (row id, kind) of the rows that a corruption left without content.
    """

    seed: int
    rows: int
    kinds: tuple[SliceResult, ...]
    left_out: tuple[tuple[str, str], ...]
    unchanged: tuple[tuple[str, str], ...] = ()
    """(row id, kind) of rows in which a corruption changes nothing: no case, no punctuation"""

    def as_json(self) -> dict[str, Any]:
        """Return the part `shift` of a report."""
        return {
            "seed": self.seed,
            "rows": self.rows,
            "left_out": len(self.left_out),
            "unchanged": len(self.unchanged),
            "kinds": [kind.as_json() for kind in self.kinds],
        }


def shift_test_rows(task: str, rows: Sequence[Row], seed: int, folder: Path) -> ShiftedSet:
    """Corrupt every test row once, kinds dealt evenly, and write the media to `folder`.

    Args:
        task: the task that the rows are judged by; it says which columns the model reads.
        rows: test rows.
        seed: seed of the kinds and of what is random in a corruption.
        folder: a folder for the corrupted images and recordings, made if it is missing.

    Raises:
        DataError: every row was left without content.
    """
    shifted = shifted_rows(rows, task_of(task).inputs, seed, folder)
    if not shifted.rows:
        raise DataError(
            "no test row has content left once it is corrupted",
            hint="give other data, or --quick to judge without shift",
        )
    return shifted


def shifted_scores(scores: Mapping[str, ItemScores]) -> dict[str, ItemScores]:
    """Return the scores under the names of metrics on shifted rows: `wer` becomes `shifted/wer`."""
    return {SHIFTED + name: score for name, score in scores.items()}


def shift_result(
    shifted: ShiftedSet, seed: int, source: Mapping[str, ItemScores], result: Mapping[str, ItemScores]
) -> ShiftResult:
    """Compare source and result kind by kind, on the scores of the shifted rows under their plain names."""
    ids: dict[str, set[str]] = {}
    for row in shifted.rows:
        ids.setdefault(row.kind, set()).add(row.row.id)
    metrics = [name for name in result if name.rpartition("/")[2] in (*TASK_METRICS, "cosine")]
    kinds = [
        change
        for metric in metrics
        for kind, row_ids in sorted(ids.items())
        if (change := slice_result((KIND, kind), metric, source, result, frozenset(row_ids))) is not None
    ]
    return ShiftResult(seed, len(shifted.rows), tuple(kinds), shifted.left_out, shifted.unchanged)
