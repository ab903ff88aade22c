"""Channels of a sound become one: their mean, or the strongest of them where the mean cancels."""

from __future__ import annotations

import numpy as np

from penjing.values import FloatArray

CANCELS_BELOW = 0.1
"""Energy of the channels' sum over the sum of their energies: 1 for unrelated channels, their count for equal ones, 0
for inverted ones. Two channels are below this where their correlation is below -0.9."""


def mix_down(samples: FloatArray, rate_hz: int) -> FloatArray:
    """Mix channels down to mono, second by second.

    A stereo recording with one inverted channel has a mean of silence, and a weaker copy where the channels differ a
    little; of each second whose channels cancel, the channel with the most energy is taken instead.

    Args:
        samples: (frames, channels), float32.
        rate_hz: frames a second; a second of the result depends on nothing but that second.

    Returns:
        (frames,), float32.
    """
    if samples.shape[1] == 1:
        return samples[:, 0]
    mixed: FloatArray = samples.mean(axis=1, dtype=np.float32)
    starts = np.arange(0, len(samples), rate_hz)
    energies = np.add.reduceat(np.square(samples, dtype=np.float64), starts, axis=0)
    sum_energies = np.add.reduceat(np.square(samples.sum(axis=1, dtype=np.float64)), starts)
    for second in np.flatnonzero(sum_energies < CANCELS_BELOW * energies.sum(axis=1)):
        frames = slice(second * rate_hz, (second + 1) * rate_hz)
        mixed[frames] = samples[frames, energies[second].argmax()]
    return mixed
