"""What a result was calibrated and judged on, in sentences."""

from __future__ import annotations

from collections.abc import Mapping

from penjing.report.document import DataPart, Document, SlicePart
from penjing.report.numbers import NOTHING, difference_text, kind_of


def data_lines(data: DataPart) -> list[str]:
    """Return a sentence for what ranges were calibrated on beside the data, and for where its rows come from."""
    lines = []
    if data.builtin:
        added = ", ".join(f"{count} rows of {name}" for name, count in data.builtin.items() if count)
        lines.append(f"Ranges of activations were calibrated on built-in rows, too: {added or 'none'}.")
    if data.augmented:
        lines.append("Every row that ranges were calibrated on was used once more, augmented.")
    for label, counts in (("Calibrated on", data.calibrated_on), ("Judged on", data.judged_on)):
        if counts:
            lines.append(f"{label} {composition(counts)}.")
    return lines


def composition(counts: Mapping[str, Mapping[str, int]]) -> str:
    """Rows by column and value: `source: people 20, synthetic 20; language: en 20`."""
    return "; ".join(
        f"{column}: {', '.join(f'{value} {count}' for value, count in values.items())}"
        for column, values in counts.items()
    )


def loss_text(part: SlicePart) -> str:
    """The loss of a slice in the metric's own direction: points of WER more, points of accuracy fewer."""
    if part.loss is None:
        return NOTHING
    return difference_text(part.metric, -part.loss if kind_of(part.metric).higher_is_better else part.loss)


def interval_text(part: SlicePart) -> str:
    """The 95% interval of the loss, in the metric's own direction."""
    if part.low is None or part.high is None:
        return NOTHING
    ends = (-part.high, -part.low) if kind_of(part.metric).higher_is_better else (part.low, part.high)
    low, high = (difference_text(part.metric, end, unit=False) for end in ends)
    return f"{low} … {high}"


def engine_lines(document: Document) -> list[str]:
    """One line per engine: claimed, or why it is not."""
    return [
        f"{name}: {'claimed' if engine.claimed else 'not claimed (' + '; '.join(engine.reasons) + ')'}"
        for name, engine in document.engines.items()
    ]
