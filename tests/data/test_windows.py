"""Windows over long sound: they cover it, they have the lengths promised, and they are cut in the pauses."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penjing.data.source import load_dataset
from penjing.data.windows import loudness, windows

pytestmark = pytest.mark.shop

RATE_HZ = 1000


def speechlike(seconds: float, seed: int) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    dice = np.random.default_rng(seed)
    envelope = np.repeat(dice.random(int(seconds * 4) + 1), RATE_HZ // 4)[: int(seconds * RATE_HZ)]
    return (envelope * dice.standard_normal(envelope.size)).astype(np.float32)


@settings(max_examples=60, deadline=None)
@given(seconds=st.floats(0.1, 200.0), seed=st.integers(0, 5), longest=st.floats(6.0, 30.0), share=st.floats(0.1, 0.5))
def test_windows_cover_everything_in_the_lengths_promised(
    seconds: float, seed: int, longest: float, share: float
) -> None:
    samples = speechlike(seconds, seed)
    shortest = longest * share
    found = windows(samples, RATE_HZ, longest, shortest)
    assert found[0][0] == 0
    assert found[-1][1] == samples.size
    assert all(end == start for (_, end), (start, _) in pairwise(found))
    lengths = [(end - start) / RATE_HZ for start, end in found]
    assert max(lengths) <= longest
    if len(found) > 1:
        assert min(lengths) >= shortest - 2 / RATE_HZ


def test_short_sound_is_one_window() -> None:
    assert windows(np.ones(28 * RATE_HZ, np.float32), RATE_HZ) == [(0, 28 * RATE_HZ)]
    assert windows(np.zeros(0, np.float32), RATE_HZ) == []


@pytest.mark.parametrize("pause_at", [13.0, 20.0, 27.5])
def test_cut_lies_in_the_only_pause(pause_at: float) -> None:
    samples = np.random.default_rng(0).standard_normal(45 * RATE_HZ).astype(np.float32)
    samples[int((pause_at - 0.2) * RATE_HZ) : int((pause_at + 0.2) * RATE_HZ)] = 0
    cut = windows(samples, RATE_HZ)[0][1]
    assert abs(cut / RATE_HZ - pause_at) < 0.1


def test_the_longer_of_two_pauses_wins_and_is_cut_in_its_middle() -> None:
    samples = np.random.default_rng(0).standard_normal(45 * RATE_HZ).astype(np.float32)
    samples[14 * RATE_HZ : int(14.3 * RATE_HZ)] = 0
    samples[20 * RATE_HZ : 22 * RATE_HZ] = 0
    cut = windows(samples, RATE_HZ)[0][1]
    assert abs(cut / RATE_HZ - 21.0) < 0.2


def test_digital_silence_is_cut_too() -> None:
    found = windows(np.zeros(90 * RATE_HZ, np.float32), RATE_HZ)
    assert all(12 <= (end - start) / RATE_HZ <= 28 for start, end in found)


def test_lengths_that_cannot_be_kept_are_refused() -> None:
    with pytest.raises(ValueError, match="twice"):
        windows(np.zeros(10, np.float32), RATE_HZ, longest_s=20, shortest_s=12)


def test_loudness_of_a_step() -> None:
    samples = np.concatenate([np.zeros(500), np.ones(500)]).astype(np.float32)
    curve = loudness(samples, 10)
    assert curve.shape == (101,)
    assert curve[0] == pytest.approx(0.0)
    assert np.all(np.diff(curve[:60]) >= -1e-12)
    assert curve[-1] == pytest.approx(1.1)


def test_joined_clips_are_cut_between_or_within_pauses() -> None:
    from penjing.data.audio import read_audio

    clips = [read_audio(row.file) for row in load_dataset("speech", limit=20).rows if row.file is not None]
    samples = np.concatenate(clips)
    found = windows(samples, 16000)
    assert len(found) >= samples.size / 16000 / 28
    typical = np.sqrt(np.mean(samples**2))
    for _, end in found[:-1]:
        around = samples[end - 800 : end + 800]
        assert np.sqrt(np.mean(around**2)) < 0.1 * typical
