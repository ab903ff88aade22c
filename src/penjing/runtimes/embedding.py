"""What every runner that embeds shares: lists of items in, unit vectors out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image

from penjing.data.image import ImageFrontEnd, open_image, read_image, to_rgb
from penjing.errors import DataError, did_you_mean
from penjing.values import FloatArray


def unit(embeds: FloatArray) -> FloatArray:
    """Scale rows (n, width) to length 1, so that their products are cosines."""
    scaled: FloatArray = embeds / np.maximum(np.linalg.norm(embeds, axis=-1, keepdims=True), 1e-12)
    return scaled


ITEMS_PER_BATCH = 16
"""Items that a runner reads and runs at once: memory is that of one batch, however many items are given."""
Given = TypeVar("Given")


def embed_in_batches(items: Sequence[Given], embed: Callable[[Sequence[Given]], FloatArray]) -> FloatArray:
    """Embed items batch by batch.

    Args:
        items: n items, n ≥ 1.
        embed: embeds at most `ITEMS_PER_BATCH` of them, (items, width).

    Returns:
        (n, width) in the order of the items.
    """
    starts = range(0, len(items), ITEMS_PER_BATCH)
    return np.concatenate([embed(items[start : start + ITEMS_PER_BATCH]) for start in starts])


def listed(items: Sequence[Any], what: str, verb: str = "embed") -> Sequence[Any]:
    """Refuse what is no list, and an empty one."""
    if not isinstance(items, (list, tuple)):
        raise DataError(f"{verb} takes a list of {what}, not {type(items).__name__}", hint="put it in brackets: [item]")
    if not items:
        raise DataError(f"no {what} to {verb}", hint="give at least one")
    return items


def modality_of(items: Sequence[Any], media: str) -> str:
    """Strings are texts; everything else (a `Path`, encoded bytes, a PIL image, samples) is `media`."""
    texts = {isinstance(item, str) for item in items}
    if len(texts) > 1:
        raise DataError("texts and files in one list", hint="embed them in two calls, or name the modality")
    return "text" if True in texts else media


def check_modality(modality: str, known: Iterable[str]) -> None:
    """Refuse a modality that a runner does not have."""
    if modality not in (names := [*known]):
        raise DataError(f"no modality called {modality!r}", hint=did_you_mean(modality, names))


def check_text(text: Any) -> str:
    """Refuse what is no string."""
    if not isinstance(text, str):
        raise DataError(f"{type(text).__name__} is no text", hint="give strings")
    return text


def check_image(image: Any) -> Any:
    """Refuse what is neither a path, nor encoded bytes, nor a PIL image."""
    if not isinstance(image, (str, Path, bytes)) and not hasattr(image, "convert"):
        raise DataError(f"{type(image).__name__} is no picture", hint="give paths, encoded bytes or PIL images")
    return image


def check_asked(image: Any, question: Any) -> str:
    """Refuse a question without a picture, one that is no text, and an empty one."""
    if image is None:
        raise DataError("ask needs a picture", hint="give a picture and a question")
    if not isinstance(question, str):
        raise DataError("this model reads questions, it does not hear them", hint="type the question")
    if not question.strip():
        raise DataError("nothing to ask: an empty question", hint="write a question about the picture")
    return question


def as_image(image: Any) -> Image.Image:
    """A path, encoded bytes or a PIL image as an RGB image."""
    return to_rgb(image) if hasattr(image, "convert") else read_image(check_image(image))


def pixels_of(front_end: ImageFrontEnd, image: Any) -> FloatArray:
    """What a model sees of a path, encoded bytes or a PIL image: float32 (3, height, width).

    A large file is shrunk before another thread decodes the next.
    """
    if hasattr(image, "convert"):
        return front_end(to_rgb(image))
    with open_image(check_image(image)) as opened:
        return front_end(opened)
