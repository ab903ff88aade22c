"""Clips of speech joined to longer ones: a model that hears half a minute at a time learns more words for its work.

Distil-Whisper joins what it learns from to 30 s (arXiv:2311.00430, section 4.1).
"""

from __future__ import annotations

import io
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import soundfile

from penjing.data.audio import read_audio
from penjing.data.row import Row
from penjing.values import FloatArray

RATE_HZ = 16_000
PAUSE_S = (0.2, 0.9)


def packed(rows: Iterable[Row], longest_s: float, seed: int) -> Iterator[Row]:
    """Neighbours of one language joined to clips of lengths drawn from nothing to `longest_s`, pauses in between.

    So short clips stay among long ones. A row that has no sound or no text, or is longer itself, stays as it is.
    """
    dice = random.Random(seed)
    some: list[Row] = []
    sounds: list[FloatArray] = []
    length, most = 0, dice.uniform(0, longest_s)
    for row in rows:
        sound = _heard(row)
        pause = round(RATE_HZ * dice.uniform(*PAUSE_S))
        if some and (sound is None or not _alike(some[-1], row) or length + pause + len(sound) > RATE_HZ * most):
            yield _joined(some, sounds)
            some, sounds, length, most = [], [], 0, dice.uniform(0, longest_s)
        if sound is None:
            yield row
            continue
        gap = [np.zeros(pause, np.float32)] if some else []
        sounds += [*gap, sound]
        some.append(row)
        length = sum(map(len, sounds))
    if some:
        yield _joined(some, sounds)


def _heard(row: Row) -> FloatArray | None:
    """What is heard in a clip of speech."""
    return read_audio(row.file, RATE_HZ) if row.media == "audio" and row.file and row.fields.get("text") else None


def _alike(one: Row, other: Row) -> bool:
    return one.fields.get("language") == other.fields.get("language")


def _joined(rows: Sequence[Row], sounds: Sequence[FloatArray]) -> Row:
    """One row of several, as they were heard."""
    if len(rows) == 1:
        return rows[0]
    file = io.BytesIO()
    soundfile.write(file, np.concatenate(sounds), RATE_HZ, format="WAV", subtype="PCM_16")
    text = " ".join(row.fields["text"] for row in rows)
    return replace(
        rows[0], id=f"{rows[0].id}+{len(rows) - 1}", fields={**rows[0].fields, "text": text}, file=file.getvalue()
    )
