"""From which cosine on an item is what a text asks for: calibrated for a model on built-in pairs.

Something is always nearest. Questions for choosing (`part` tune) and the passages that answer some of them calibrate
for texts, pictures and their captions for pictures. Of the questions that judge, 91% of those with an answer are above
the threshold of all-MiniLM-L6-v2 (0.35), and 86% of the others below; among 162 further passages 91% and 71%.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np

from penjing.apps.confidence import builtin_folder, read_questions
from penjing.data.knowledge import read_knowledge
from penjing.data.source import load_dataset
from penjing.errors import DataError
from penjing.runtimes.embedding import embed_in_batches
from penjing.values import Array, FloatArray, Tell

PICTURES = ("calibration-images", "pictures")
"""Built-in sets of pictures with captions: photographs, and drawings for models that know no photographs."""
MOST_PICTURES = 60
REFUSED = 0.85
"""Share of what nothing answers that a threshold refuses: to hide what was asked for is worse than to show too much."""
FEWEST_RIGHT = 0.75
"""Where it keeps a smaller share of what is answered, there is no threshold: the model does not know the set."""


def calibrate_thresholds(runner: Any, kinds: Collection[str], tell: Tell) -> dict[str, float]:
    """Return the cosine from which on items of a kind are what a text asks for; kinds that cannot be judged are absent.

    Args:
        runner: embeds texts and items.
        kinds: of items in the index: image, audio, text. There are no built-in captions of sounds.
    """
    thresholds: dict[str, float] = {}
    if "text" not in runner.modalities:
        return thresholds
    for kind, calibrate in (("text", _texts), ("image", _pictures)):
        if kind in kinds and kind in runner.modalities:
            tell(f"calibrate what counts as found ({kind})", 0, 0)
            try:
                threshold = calibrate(runner)
            except DataError:  # a model of few words, which cannot read the built-in ones
                continue
            if threshold is not None:
                thresholds[kind] = threshold
    return thresholds


def _texts(runner: Any) -> float | None:
    """Largest cosines of questions with and without an answer among the passages."""
    asked = [one for one in read_questions(builtin_folder() / "questions.jsonl") if one.part == "tune"]
    questions = _embedded(runner, [one.question for one in asked], "text")
    passages = _embedded(runner, [one.whole for one in read_knowledge(builtin_folder() / "knowledge")], "text")
    return _threshold((questions @ passages.T).max(1), np.array([one.passage is not None for one in asked]))


def _pictures(runner: Any) -> float | None:
    """Cosines of captions to their own picture, and the largest to a picture with another caption."""
    for name in PICTURES:
        dataset = load_dataset(name)
        rows = [row for row in dataset.rows if row.fields.get("text") and dataset.parts.get(row.id) != "judge"]
        rows = rows[:MOST_PICTURES]
        captions = [row.fields["text"] for row in rows]
        texts = _embedded(runner, captions, "text")
        cosines = texts @ _embedded(runner, [row.file for row in rows], "image").T
        others = np.array([[caption != other for other in captions] for caption in captions])
        own = np.diagonal(cosines)
        strange = np.where(others, cosines, -np.inf).max(1)
        threshold = _threshold(np.concatenate([own, strange]), np.arange(2 * len(own)) < len(own))
        if threshold is not None:
            return threshold
    return None


def _threshold(scores: Array, answered: Array) -> float | None:
    """The threshold that refuses enough of one side, if it keeps enough of the other."""
    threshold = float(np.quantile(scores[~answered], REFUSED))
    return threshold if (scores[answered] >= threshold).mean() >= FEWEST_RIGHT else None


def _embedded(runner: Any, items: Sequence[Any], kind: str) -> FloatArray:
    embed: Callable[[Sequence[Any]], FloatArray] = lambda batch: runner.embed_read(  # noqa: E731
        [runner.read(item, kind) for item in batch], kind
    )
    return embed_in_batches(items, embed)
