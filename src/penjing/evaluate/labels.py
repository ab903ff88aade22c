"""Classifiers by the share of items that get their own label."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from penjing.data.labels import place_of
from penjing.data.row import Row
from penjing.errors import DataError, did_you_mean
from penjing.evaluate.interval import ItemScores
from penjing.evaluate.tasks import Progress, evaluate_classification

FEW_LABELS = 20


def check_labels(rows: Sequence[Row], labels: Sequence[str]) -> None:
    """Refuse rows without a label, and labels that the model does not know."""
    for row in rows:
        named(row, labels)


def named(row: Row, labels: Sequence[str]) -> str:
    """The name of a row's label; a number is one in the order of the model's labels, unless it is a name itself."""
    label = row.fields.get("label")
    if label is None:
        raise DataError(f"row {row.id!r} has no 'label'", hint="this task is judged by the column 'label'")
    place = place_of(label, labels)
    if place is not None:
        return labels[place]
    hint = did_you_mean(label, [*labels])
    if not hint.startswith("did") and len(labels) > FEW_LABELS:
        hint = f"it knows {len(labels)}, among them {', '.join(labels[:3])}"
    raise DataError(f"row {row.id!r}: the model knows no label {label!r}", hint=hint)


def evaluate_labels(
    classify: Callable[[Row], str], labels: Sequence[str], rows: Sequence[Row], progress: Progress | None = None
) -> dict[str, ItemScores]:
    """`accuracy`: how often a function gives a row its own label."""
    wanted = [Row(row.id, {**row.fields, "label": named(row, labels)}, row.media, row.file) for row in rows]
    return evaluate_classification(classify, wanted, progress)
