"""Tasks of a model of many modalities: retrieval in every direction, answers that are right, captions that are true."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from penjing.data.row import Row
from penjing.evaluate.catalogue import RECALL_AT
from penjing.evaluate.interval import ItemScores
from penjing.evaluate.retrieval import Matrix, Scored, cosine_scores, retrieval_scores
from penjing.scenes.captions import false_claims
from penjing.scenes.scene import Scene


def evaluate_directions(vectors: Mapping[str, Matrix], scored: Scored = cosine_scores) -> dict[str, ItemScores]:
    """Find each row by each of its modalities among all rows: `image_to_text_recall_at_1` and so on.

    `vectors` holds (rows, width) by modality. `recall_at_k` is the mean of all directions. Every row is an item of its
    own, so no two rows should hold the same text.
    """
    rows = len(next(iter(vectors.values())))
    pairs = np.repeat(np.arange(rows)[:, None], 2, axis=1)
    found: dict[str, ItemScores] = {}
    means: dict[str, list[ItemScores]] = {f"recall_at_{k}": [] for k in RECALL_AT}
    for one, other in itertools.combinations(vectors, 2):
        scores = retrieval_scores(scored(vectors[one], vectors[other]), pairs, one, other)
        for name, kept in means.items():
            kept.append(scores.pop(name))
        found |= scores
    return {name: _mean(name, kept) for name, kept in means.items()} | found


def _mean(name: str, scores: Sequence[ItemScores]) -> ItemScores:
    """The mean of several metrics of the same items."""
    return ItemScores(
        name,
        np.sum([score.numerator for score in scores], axis=0),
        np.sum([score.denominator for score in scores], axis=0),
    )


def evaluate_answers(answers: Sequence[str], rows: Sequence[Row]) -> dict[str, ItemScores]:
    """Exact match of answers with each row's own `answer`, whatever the case."""
    hits = [
        said.strip().lower() == row.fields["answer"].strip().lower() for said, row in zip(answers, rows, strict=True)
    ]
    return {"accuracy": ItemScores.mean_of("accuracy", hits)}


def evaluate_truth(captions: Sequence[str], rows: Sequence[Row]) -> dict[str, ItemScores]:
    """Captions of which every word is so, and that leave out nothing; `scene` says what there is."""
    true = [
        not false_claims(said, Scene.from_json(row.fields["scene"])) for said, row in zip(captions, rows, strict=True)
    ]
    return {"truth": ItemScores.mean_of("truth", true)}
