"""Clips of speech joined to longer ones: a model that hears half a minute at a time learns more words for its work.

So do the training scripts of Distil-Whisper (github.com/huggingface/distil-whisper, `concatenate_audio`).
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
    most = RATE_HZ * dice.uniform(0, longest_s)
    for row in rows:
        sound = _heard(row)
        pause = np.zeros(round(RATE_HZ * dice.uniform(*PAUSE_S)), np.float32)
        fits = sound is not None and sum(map(len, (*sounds, pause, sound))) <= most
        if some and not (fits and _alike(some[-1], row)):
            yield _joined(some, sounds)
            some, sounds, most = [], [], RATE_HZ * dice.uniform(0, longest_s)
        if sound is None:
            yield row
        else:
            sounds += [pause, sound] if some else [sound]
            some.append(row)
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
