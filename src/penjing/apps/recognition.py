"""What a customer shows: a picture is looked for among those of the knowledge, and stands for their passages.

How near is near enough is learned from these pictures. Each is looked at again as somebody else might take it, turned a
little, cut or darker; those views belong to it, while pictures of other passages and drawings of something else do not.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageEnhance

from penjing.apps.confidence import Confidence, fitted
from penjing.data.knowledge import Passage
from penjing.data.paths import resolve_inside
from penjing.data.pictures import draw
from penjing.errors import DataError
from penjing.runtimes.embedding import as_image
from penjing.values import Array, FloatArray

STRANGE = 24
"""Drawings that nothing known shows."""


@dataclass(frozen=True, slots=True)
class Seen:
    """The passage that a picture stands for, the cosine to the picture there, and the chance that it is the same."""

    passage: Passage
    cosine: float
    chance: float


class Recognizer:
    """Knows the pictures that passages of a folder show. `model` embeds pictures.

    Pictures are opened one after the other, and only their vectors are kept.
    """

    def __init__(self, folder: str | Path, passages: Sequence[Passage], model: Any) -> None:
        self._model = model
        self._owners = [passage for passage in passages for _ in passage.pictures]
        places = [_place(Path(folder), passage, name) for passage in passages for name in passage.pictures]
        looks = np.stack([self._looked_at(as_image(place)) for place in places])
        self._vectors: FloatArray = looks[:, 0]
        self.confidence = self._learned(looks[:, 1:])

    def find(self, picture: Any) -> Seen | None:
        """The passage whose picture is nearest; None where none is near enough."""
        cosines = self._vectors @ self._embed([picture])[0]
        best = int(cosines.argmax())
        chance = self.confidence.of(cosines[[best]])
        if chance < self.confidence.threshold:
            return None
        return Seen(self._owners[best], float(cosines[best]), chance)

    def _embed(self, pictures: Sequence[Any]) -> FloatArray:
        found: FloatArray = self._model.embed_read([self._model.read(one, "image") for one in pictures], "image")
        return found

    def _looked_at(self, picture: Image.Image) -> FloatArray:
        """Vectors (1 + views, width) of a picture and of itself seen again."""
        return np.concatenate([self._embed([one]) for one in itertools.chain([picture], again(picture))])

    def _learned(self, views: FloatArray) -> Confidence:
        """How sure a cosine makes: of views (pictures, views, width) to the same and to the nearest others."""
        count = views.shape[1]
        cosines = views.reshape(-1, views.shape[2]) @ self._vectors.T
        mine = np.repeat(np.arange(len(views)), count)
        same = cosines[np.arange(len(cosines)), mine]
        drawn = np.concatenate([self._embed([draw(seed)[0]]) for seed in range(STRANGE)])
        strange = (drawn @ self._vectors.T).max(1)
        others = np.concatenate([strange, self._of_others(cosines, mine)])
        signs: Array = np.concatenate([same, others])[:, None]
        return fitted(signs, np.arange(len(signs)) < len(same))

    def _of_others(self, cosines: FloatArray, mine: Array) -> FloatArray:
        """Of every view the largest cosine to a picture of another passage, where there is one."""
        owners = np.array([owner.id for owner in self._owners])
        apart = np.where(owners[mine][:, None] == owners[None], -np.inf, cosines)
        found: FloatArray = apart.max(1)
        return found[np.isfinite(found)]


def again(picture: Image.Image) -> Iterator[Image.Image]:
    """A picture as somebody else might take it."""
    width, height = picture.size
    yield picture.rotate(6, Image.Resampling.BILINEAR, fillcolor=(128, 128, 128))
    yield picture.crop((width // 10, height // 10, width - width // 10, height - height // 10))
    yield ImageEnhance.Brightness(picture).enhance(0.7)


def _place(folder: Path, passage: Passage, name: str) -> Path:
    """Where a picture of the knowledge is; one that is missing or outside of the folder is refused."""
    path = resolve_inside(folder, name, passage.file)
    if not path.is_file():
        raise DataError(f"{passage.file} shows {name}, which is not there", hint="put it into the knowledge folder")
    return path
