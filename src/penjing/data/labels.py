"""Labels of rows among those of a model."""

from __future__ import annotations

from collections.abc import Sequence


def place_of(label: str, labels: Sequence[str]) -> int | None:
    """Where a label is among a model's; a number is one in their order, unless it is a name itself. None where it is no
    label of these.
    """
    if label in labels:
        return labels.index(label)
    if label.isascii() and label.isdigit() and int(label) < len(labels):
        return int(label)
    return None
