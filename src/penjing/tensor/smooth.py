"""Scales that move difficulty from activations to weights, channel by channel: SmoothQuant's and AWQ's arithmetic."""

from __future__ import annotations

from torch import Tensor

from penjing.tensor.grid import TINY


def smooth_scales(input_max: Tensor, weight_max: Tensor, strength: float) -> Tensor:
    """s_j = max|X_j|^α / max|W_j|^(1−α), by which inputs are divided and weights multiplied (arXiv:2211.10438, eq. 4).

    Largest magnitudes per input channel (in,) -> (in,). Channels that were never active, or whose weights are all zero,
    keep a scale of 1: nothing is known of them.
    """
    scales = input_max.clamp_min(TINY) ** strength / weight_max.clamp_min(TINY) ** (1 - strength)
    scales[(input_max <= TINY) | (weight_max <= TINY)] = 1.0
    return scales.clamp(1e-4, 1e4)


def awq_scales(input_size: Tensor, strength: float) -> Tensor:
    """s_j = |X_j|^α, centred so that √(max · min) = 1 (arXiv:2306.00978, section 3.2).

    Weights of salient inputs grow before they are rounded, and lose less. Sizes (in,) -> (in,); ours are root mean
    squares, which the Gram matrix has, where the paper takes mean magnitudes.
    """
    scales = input_size.clamp_min(1e-4 * float(input_size.mean()) + TINY) ** strength
    return scales / (scales.max() * scales.min()).sqrt()
