"""What an encoder makes of silence, computed once per artifact: the decoder hears a stretch of it after every clip."""

from __future__ import annotations

import contextlib
import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from penjing.artifact.whole_file import write_whole
from penjing.errors import EngineError
from penjing.runtimes.engine import WHOLE
from penjing.values import Array, Arrays

Listen = Callable[[int], Arrays]
"""Frames of silence -> the encoder's outputs, each (1, heads, frames / 2, width)."""


class Silence:
    """Encoder outputs for silence, by place, rounded to float16. Kept in a cache file, else computed on demand."""

    def __init__(self, listen: Listen, longest_frames: int, cache: Path | None) -> None:
        self._listen, self._longest, self._cache = listen, longest_frames, cache
        self._states: Arrays = {}
        self._whole: dict[str, Array] = {}
        self._whole_of: tuple[int, dict[str, tuple[int, ...]]] = (-1, {})

    def behind(self, heard: Arrays, last: int) -> dict[str, Array]:
        """Return what was heard, (1, heads, places, width) float32 per output, with silence behind it up to `last`.

        The arrays belong to this object and hold until the next call. Where that hears as many places as this one,
        the silence is in them already: new memory for ten seconds of silent states and their conversion took 34 ms a
        clip (Whisper base), what was heard alone takes 1.
        """
        for name, array in heard.items():
            if array.ndim != 4 or array.shape[2] > last:
                raise EngineError(f"the encoder gives {name} of shape {array.shape}, {last} places follow", hint=WHOLE)
        shapes = {name: (*array.shape[:2], last, array.shape[3]) for name, array in heard.items()}
        first = min((array.shape[2] for array in heard.values()), default=last)
        if (first, shapes) != self._whole_of:
            whole = {name: np.empty(shape, np.float32) for name, shape in shapes.items()}
            if first < last:
                for name, states in self._between(first, last).items():
                    whole[name][:, :, first:] = states
            self._whole, self._whole_of = whole, (first, shapes)  # together: an encoder that fails leaves neither
        for name, array in heard.items():
            self._whole[name][:, :, :first] = array
        return dict(self._whole)

    def _between(self, first: int, last: int) -> dict[str, Array]:
        """States of the places `first` to `last`, (1, heads, last - first, width) float16 per output."""
        if not self._states:
            self._read() if self._cache and self._cache.is_file() else self._compute()
        return {name: states[:, :, first:last] for name, states in self._states.items()}

    def _compute(self) -> None:
        """Run the encoder on silence as long as the model hears: a state depends on how much silence is around it."""
        # Rounded whether written or not: the first run and all later ones hear the same silence.
        self._states = {name: states.astype(np.float16) for name, states in self._listen(self._longest).items()}
        if self._cache:
            with contextlib.suppress(OSError):  # a cache that cannot be written costs time, nothing else
                self._write(self._cache)

    def _write(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        content = io.BytesIO()
        np.savez(content, allow_pickle=False, **self._states)
        write_whole(path, content.getvalue())

    def _read(self) -> None:
        assert self._cache is not None
        try:
            with np.load(self._cache, allow_pickle=False) as found:
                self._states = {name: found[name] for name in found.files}
        except (OSError, ValueError, EOFError, zipfile.BadZipFile):
            with contextlib.suppress(OSError):
                self._cache.unlink(missing_ok=True)
            self._compute()
