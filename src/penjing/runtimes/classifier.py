"""Labels for texts or pictures. Knows the task, no family."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from penjing.data.image import ImageFrontEnd
from penjing.data.row import Row
from penjing.data.text import Item, TextFrontEnd
from penjing.errors import ArtifactError, DataError
from penjing.runtimes.embedding import check_image, check_text, listed, pixels_of
from penjing.runtimes.engine import Graph
from penjing.runtimes.parts import Parts
from penjing.values import Array, FloatArray

GRAPH = "model"
ITEMS_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class Classified:
    """What a model takes an item for: the likeliest label, its probability, and all labels from the likeliest on."""

    label: str
    probability: float
    ranking: tuple[tuple[str, float], ...]


class ClassifierRunner:
    """Gives every text, pair of texts or picture one of the model's labels."""

    task = "classifier"

    def __init__(self, graph: Graph, settings: Mapping[str, Any], tokenizer_path: Path) -> None:
        self.settings = settings
        self.labels: list[str] = settings["labels"]
        self._graph = graph
        self._image = ImageFrontEnd(settings["image"]) if "image" in settings else None
        self._text = None if self._image else TextFrontEnd(tokenizer_path, settings["text"])

    def classify(self, items: Sequence[Any]) -> list[Classified]:
        """Texts, pairs of texts as tuples, or pictures (paths, encoded bytes or PIL images) -> a label for each."""
        return [self._answer(row) for row in self.logits(items)]

    def logits(self, items: Sequence[Any]) -> FloatArray:
        """What the model says before it is made probabilities of: (items, labels)."""
        checked = [self._checked(item) for item in listed(items, "items", "classify")]
        parts = [checked[start : start + ITEMS_AT_ONCE] for start in range(0, len(checked), ITEMS_AT_ONCE)]
        logits = np.concatenate([self._graph(self._inputs(part))["logits"] for part in parts])
        if logits.ndim != 2 or logits.shape[1] != len(self.labels):
            shape = f"{len(self.labels)} labels, and logits of shape {logits.shape}"
            raise ArtifactError(f"this artifact has {shape}", hint="are settings and graphs of one artifact?")
        return logits

    def classify_row(self, row: Row) -> Classified:
        """Label the picture, the text or the two texts of a row."""
        (found,) = self.classify([self._item(row)])
        return found

    def run_synthetic(self) -> None:
        """Label one arbitrary item, to measure memory."""
        from PIL import Image

        self.classify(
            [Image.new("RGB", (320, 240), (120, 90, 60)) if self._image else "a red bus in front of the station"]
        )

    def _item(self, row: Row) -> Any:
        wanted = "image" if self._image else "text"
        item = row.image if self._image else row.fields.get("text")
        if item is None:
            raise DataError(f"row {row.id!r} has no {wanted}", hint=f"this model labels {wanted}s")
        other = None if self._image else row.fields.get("text2")
        return item if other is None else (item, other)

    def _checked(self, item: Any) -> Any:
        if self._image:
            return check_image(item)
        if isinstance(item, tuple) and len(item) == 2:
            return check_text(item[0]), check_text(item[1])
        return check_text(item)

    def _inputs(self, items: Sequence[Item | Any]) -> Mapping[str, Array]:
        if self._image is not None:
            return {"pixel_values": np.stack([pixels_of(self._image, item) for item in items])}
        assert self._text is not None
        return self._text(items)

    def _answer(self, logits: FloatArray) -> Classified:
        """Softmax over the labels."""
        powers = np.exp(logits.astype(np.float64) - logits.max())
        shares = powers / powers.sum()
        ranking = tuple((self.labels[place], float(shares[place])) for place in np.argsort(-shares, kind="stable"))
        return Classified(*ranking[0], ranking)


def open_classifier(parts: Parts) -> ClassifierRunner:
    """The runner of one graph."""
    return ClassifierRunner(parts.graph(GRAPH), parts.settings, parts.tokenizer_path)
