"""A model without weights: pictures of one colour, sounds of one loudness and texts of three numbers become vectors."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from penjing.apps.search import Embedding
from penjing.errors import DataError
from penjing.runtimes.embedding import as_image

WIDTH = 32
TURN = np.linalg.qr(np.random.default_rng(0).standard_normal((WIDTH, WIDTH)))[0].astype(np.float32)


class Colours:
    """Embeds a colour, seen or told; `read` counts, and `breaks_at` interrupts."""

    task = "dual-encoder"
    modalities = ("image", "text")

    def __init__(self, breaks_at: int | None = None) -> None:
        self.reads: list[Any] = []
        self.breaks_at = breaks_at
        self._lock = threading.Lock()

    def read(self, item: Any, modality: str) -> tuple[int, ...]:
        with self._lock:
            self.reads.append(item)
        if modality == "text":
            numbers = [word for word in item.split() if word.isdigit()]
            if len(numbers) != 3:
                raise DataError("no colour is told")
            return tuple(int(word) for word in numbers)
        return as_image(item).resize((1, 1)).getpixel((0, 0))

    def count_read(self, read: tuple[int, ...]) -> int:
        return len(read)

    def embed_read(self, read: Sequence[tuple[int, ...]], modality: str) -> np.ndarray:
        if self.breaks_at is not None:
            self.breaks_at -= len(read)
            if self.breaks_at < 0:
                raise KeyboardInterrupt
        colours = np.array(read, np.float32) / 255
        waves = np.concatenate([np.cos((1 + wave) * colours) for wave in range(10)] + [np.ones((len(read), 2))], 1)
        found = waves.astype(np.float32) @ TURN
        return found / np.linalg.norm(found, axis=1, keepdims=True)


def embedding(folder: Path, runner: Any = None, name: str = "colours") -> Embedding:
    """The model in an artifact of no graphs."""
    place = folder / name
    (place / "onnx").mkdir(parents=True, exist_ok=True)
    (place / "onnx" / "a.onnx").write_text(name)
    digest = hashlib.sha256(name.encode()).hexdigest()
    document = {"format": 1, "task": "dual-encoder", "files": {"onnx/a.onnx": digest}, "settings": {}}
    (place / "penjing.json").write_text(json.dumps(document))
    return Embedding(runner or Colours(), place)


def paint(folder: Path, name: str, colour: tuple[int, int, int]) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4), colour).save(path)
    return path


def paint_many(folder: Path, count: int, seed: int = 0) -> list[Path]:
    dice = np.random.default_rng(seed)
    return [
        paint(folder, f"{seed}/{place:03}.png", tuple(int(value) for value in dice.integers(0, 256, 3)))
        for place in range(count)
    ]
