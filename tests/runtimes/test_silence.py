"""Silent states: computed once, kept for later, computed again when what was kept is damaged."""

from __future__ import annotations

import numpy as np
import pytest

from penjing.runtimes.silence import Silence

pytestmark = pytest.mark.shop

LONGEST = 40


class Encoder:
    """Answers with the number of every place, and counts how often it is asked."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def __call__(self, frames: int):
        self.asked.append(frames)
        places = np.arange(frames // 2, dtype=np.float32).reshape(1, 1, -1, 1)
        return {"present.0.encoder.key": places, "present.0.encoder.value": -places}


def sound(count: int, value: float = 0.5):
    key = np.full((1, 1, count, 1), value, np.float32)
    return {"present.0.encoder.key": key, "present.0.encoder.value": -key}


def places(silence: Silence, first: int, last: int) -> list[float]:
    """The places of silence behind a sound that takes `first`."""
    found = silence.behind(sound(first), last)
    assert np.array_equal(found["present.0.encoder.value"], -found["present.0.encoder.key"])
    assert found["present.0.encoder.key"].dtype == np.float32
    assert (found["present.0.encoder.key"].ravel()[:first] == 0.5).all()
    return found["present.0.encoder.key"].ravel()[first:].tolist()


def test_sounds_of_any_length_after_one_another_keep_their_own_silence():
    silence = Silence(Encoder(), LONGEST, None)
    for first, last, value in ((3, 6, 0.5), (3, 6, -2.0), (4, 6, 1.0), (3, 6, 3.0), (3, 8, 4.0)):
        key = silence.behind(sound(first, value), last)["present.0.encoder.key"]
        assert key.ravel().tolist() == [value] * first + [*range(first, last)]


def test_silence_is_heard_once_and_as_long_as_the_model_hears():
    """A state of silence depends on how much of it is around: a transcript must not depend on what was heard before."""
    encoder = Encoder()
    silence = Silence(encoder, LONGEST, None)
    assert places(silence, 3, 6) == [3, 4, 5]
    assert places(silence, 0, 10) == list(range(10))
    assert places(silence, 15, 20) == [15, 16, 17, 18, 19]
    assert encoder.asked == [LONGEST]


def test_what_is_kept_is_not_computed_again(tmp_path):
    first, second = Encoder(), Encoder()
    kept = tmp_path / "deep" / "silence.npz"
    assert places(Silence(first, LONGEST, kept), 2, 4) == [2, 3]
    assert places(Silence(second, LONGEST, kept), 18, 20) == [18, 19]
    assert (first.asked, second.asked) == ([LONGEST], [])
    assert [path.name for path in kept.parent.iterdir()] == ["silence.npz"]


@pytest.mark.parametrize("damage", ["empty", "text", "cut short"])
def test_a_damaged_file_is_written_again(damage, tmp_path):
    kept = tmp_path / "silence.npz"
    places(Silence(Encoder(), LONGEST, kept), 0, 2)
    whole = kept.read_bytes()
    kept.write_bytes({"empty": b"", "text": b"not an archive", "cut short": whole[: len(whole) // 2]}[damage])
    encoder = Encoder()
    assert places(Silence(encoder, LONGEST, kept), 5, 7) == [5, 6]
    assert encoder.asked == [LONGEST]
    assert kept.read_bytes() == whole


def test_a_cache_that_cannot_be_written_costs_time_only(tmp_path):
    (tmp_path / "file").write_text("in the way")
    encoder = Encoder()
    assert places(Silence(encoder, LONGEST, tmp_path / "file" / "silence.npz"), 1, 3) == [1, 2]
    assert encoder.asked == [LONGEST]
