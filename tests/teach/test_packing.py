"""Joined clips: every sample and every word stays, lengths are as drawn, languages do not mix."""

from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile

from penjing.data.audio import audio_length, read_audio
from penjing.data.row import Row
from penjing.teach.packing import PAUSE_S, RATE_HZ, packed


def clip(number: int, seconds: float = 2.0, rate_hz: int = RATE_HZ, **fields: str) -> Row:
    file = io.BytesIO()
    level = np.full(int(seconds * rate_hz), (number + 1) / 64, np.float32)
    soundfile.write(file, level, rate_hz, format="WAV", subtype="PCM_16")
    return Row(f"clip-{number}", {"text": f"Number {number}.", "language": "en", **fields}, "audio", file.getvalue())


def seconds(row: Row) -> float:
    assert row.file is not None
    frames, rate_hz = audio_length(row.file)
    return frames / rate_hz


def test_every_word_stays_and_every_sample_with_pauses_between():
    rows = [clip(number) for number in range(60)]
    found = [*packed(rows, 20, 3)]
    assert len(found) < 30
    assert " ".join(row.fields["text"] for row in found) == " ".join(row.fields["text"] for row in rows)
    sound = np.concatenate([read_audio(row.file, RATE_HZ) for row in found])
    levels = [round(64 * level) - 1 for level in sound[np.flatnonzero(sound)]]
    assert [levels[place] for place in range(0, len(levels), 2 * RATE_HZ)] == [*range(60)]
    assert len(levels) == 60 * 2 * RATE_HZ
    pauses = len(sound) - len(levels)
    joints = 60 - len(found)
    assert joints * PAUSE_S[0] <= pauses / RATE_HZ <= joints * PAUSE_S[1]


def test_none_is_longer_than_it_may_be_and_short_ones_stay():
    found = [*packed([clip(number) for number in range(200)], 12, 0)]
    lengths = [seconds(row) for row in found]
    assert max(lengths) <= 12
    assert min(lengths) == 2
    assert max(lengths) > 9
    assert len({row.id for row in found}) == len(found)


def test_it_is_the_same_every_time_and_another_with_another_seed():
    rows = [clip(number) for number in range(30)]
    first, again, other = ([*packed(rows, 15, seed)] for seed in (1, 1, 2))
    assert first == again
    assert [row.id for row in first] != [row.id for row in other]


def test_languages_do_not_mix():
    rows = [clip(number, language="en" if number < 7 else "de") for number in range(14)]
    found = [*packed(rows, 100, 0)]
    assert {row.fields["language"] for row in found} == {"en", "de"}
    assert next(row.fields["text"].split()[1] for row in found if row.fields["language"] == "de") == "7."


@pytest.mark.parametrize(
    "other", [Row("said", {"text": "Nothing is heard."}), clip(1, text=""), clip(1, seconds=40)], ids=lambda row: row.id
)
def test_what_has_no_sound_or_text_or_is_too_long_stays_as_it_is(other):
    rows = [clip(0), other, clip(2)]
    found = [*packed(rows, 6, 0)]
    assert other in found
    assert [row.id for row in found] == [row.id for row in rows]


def test_other_rates_are_joined_at_the_rate_of_speech():
    found = [*packed([clip(0, rate_hz=8000), clip(1, rate_hz=44_100), clip(2)], 1000, 5)]
    assert len(found) == 1
    assert audio_length(found[0].file)[1] == RATE_HZ
    assert seconds(found[0]) == pytest.approx(6 + 2 * sum(PAUSE_S) / 2, abs=0.8)
    assert found[0].fields["text"] == "Number 0. Number 1. Number 2."
    assert found[0].id == "clip-0+2"


def test_nothing_is_nothing():
    assert [*packed([], 20, 0)] == []
