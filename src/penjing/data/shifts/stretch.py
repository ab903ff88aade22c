"""Tempo without a change of pitch: waveform similarity overlap-add."""

from __future__ import annotations

import numpy as np

from penjing.data.spectrum import hann
from penjing.values import FloatArray

WINDOW_S = 0.04
SEARCH_S = 0.01
"""Segments are moved by up to 10 ms either way: 20 ms hold a whole period of the lowest voices (50 Hz)."""
COMPARED_HZ = 16000
"""Similarity is computed at about this rate; higher frequencies decide nothing."""


def time_stretch(samples: FloatArray, rate_hz: int, tempo: float) -> FloatArray:
    """Play a sound `tempo` times as fast at the same pitch: (n,) -> (round(n / tempo),).

    WSOLA (W. Verhelst and M. Roelands, ICASSP 1993): windows of 40 ms are overlapped by half; each is taken from where
    the tempo says, moved so that it resembles best what would have followed the window before it.
    """
    step = max(1, rate_hz // COMPARED_HZ)
    hop = max(1, int(WINDOW_S / 2 * rate_hz / step)) * step
    search = max(1, int(SEARCH_S * rate_hz / step)) * step
    count = max(1, round(len(samples) / tempo))
    frames = count // hop + 2
    window = hann(2 * hop).astype(np.float32)
    # `front` zeros stand before the first sample, so that the first window and its search lie inside.
    front = hop + search
    length = int((frames - 1) * hop * tempo) + 4 * hop + 4 * search
    source = np.zeros(max(length, front + len(samples)), np.float32)
    source[front : front + len(samples)] = samples
    output = np.zeros((frames + 1) * hop, np.float32)
    start = search
    for index in range(frames):
        if index:
            nominal = search + int(index * hop * tempo)
            start = _most_similar(source, start + hop, nominal - search, 2 * search, (2 * hop, step))
        output[index * hop : (index + 2) * hop] += window * source[start : start + 2 * hop]
    return output[hop : hop + count]


def _most_similar(source: FloatArray, natural: int, first: int, span: int, segment: tuple[int, int]) -> int:
    """Where, in [first, first + span], the segment begins that is most like the one at `natural`.

    Args:
        source: the padded sound (n,).
        natural: where the segment before would go on.
        first: the earliest start.
        span: how much later the last start is, a multiple of the step.
        segment: (length in samples, step between the samples that are compared).

    Returns:
        The start with the highest normalised cross-correlation; the middle where there is nothing but zeros.
    """
    length, step = segment
    template = source[natural : natural + length : step]
    candidates = source[first : first + span + length : step][: span // step + length // step]
    products = np.correlate(candidates, template, "valid")
    squares = np.cumsum(np.concatenate([[0.0], np.square(candidates, dtype=np.float64)]))
    energies = squares[len(template) :] - squares[: -len(template)]
    if not products.any():
        return first + span // 2
    return first + step * int(np.argmax(products / np.sqrt(energies + 1e-9)))
