"""What an encoder makes of silence, computed once per artifact: the decoder hears a stretch of it after every clip."""

from __future__ import annotations

import contextlib
import os
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from penjing.values import Array, Arrays

Listen = Callable[[int], Arrays]
"""Frames of silence -> the encoder's outputs, each (1, heads, frames / 2, width)."""


class Silence:
    """Encoder outputs for silence, by place, rounded to float16. Kept in a cache file, else computed on demand."""

    def __init__(self, listen: Listen, longest_frames: int, cache: Path | None) -> None:
        self._listen, self._longest, self._cache = listen, longest_frames, cache
        self._states: Arrays = {}
        self._places = 0

    def after(self, first: int, last: int) -> dict[str, Array]:
        """States of the places `first` to `last`, (1, heads, last - first, width) float32 per output."""
        if last > self._places:
            self._read() if self._cache and self._cache.is_file() else self._compute(last)
        return {name: states[:, :, first:last].astype(np.float32) for name, states in self._states.items()}

    def _compute(self, last: int) -> None:
        """Run the encoder on silence: on all the model hears where it is kept for later, else on what is needed."""
        frames = self._longest if self._cache else min(self._longest, max(2 * last, self._longest // 2))
        # Rounded whether written or not: the first run and all later ones hear the same silence.
        self._states = {name: states.astype(np.float16) for name, states in self._listen(frames).items()}
        self._places = frames // 2
        if self._cache:
            with contextlib.suppress(OSError):  # a cache that cannot be written costs time, nothing else
                self._write(self._cache)

    def _write(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, partial = tempfile.mkstemp(dir=path.parent, suffix=".partial")
        with os.fdopen(handle, "wb") as stream:
            np.savez(stream, allow_pickle=False, **self._states)
        os.replace(partial, path)

    def _read(self) -> None:
        assert self._cache is not None
        try:
            with np.load(self._cache, allow_pickle=False) as found:
                self._states = {name: found[name] for name in found.files}
        except (OSError, ValueError, EOFError, zipfile.BadZipFile):
            with contextlib.suppress(OSError):
                self._cache.unlink(missing_ok=True)
            self._compute(self._longest // 2)
        self._places = self._longest // 2
