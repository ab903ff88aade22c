"""A matrix as the product of two thin ones, W ≈ A B, that loses least of what the layer makes of its inputs.

With H = X Xᵀ = R Rᵀ the loss is ‖(W − Ŵ) X‖ = ‖(W − Ŵ) R‖. The best Ŵ of rank k cuts the singular values of the
whitened matrix W R (Eckart & Young): Ŵ = U Σ Vᵀ R⁻¹ = U Uᵀ W with its k leading left vectors U (SVD-LLM,
arXiv:2403.07378, section 3.1, which takes Cholesky's factor for R; the root of the eigenvectors serves as well, and
nothing has to be inverted). Without H it is plain truncation. All weights are (out, in), H is (in, in).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

SMALLEST = 1e-6
"""Singular values below this share of the largest are balanced as if they were as large."""


class Spectrum(NamedTuple):
    """Left vectors (out, values) and singular values (values,), falling, of a whitened matrix; float64."""

    left: Tensor
    values: Tensor


def root_of(gram: Tensor, damping: float) -> Tensor:
    """R = Q Λ^½ with R Rᵀ = H + damping · mean(diag H) · I: (in, in) -> (in, in), float64.

    Damping lets inputs count that calibration never moved; with none, they may be lost even at full rank.
    """
    gram = gram.double()
    level = damping * (float(gram.diagonal().mean()) or 1.0)
    found, vectors = torch.linalg.eigh(gram)
    root: Tensor = vectors * (found.clamp_min(0) + level).sqrt()
    return root


def spectrum(weight: Tensor, gram: Tensor | None = None, damping: float = 0.0) -> Spectrum:
    """Singular values of W R, and what they stand for: weight (out, in), gram (in, in) or None for R = I."""
    whitened = weight.detach().double()
    if gram is not None:
        whitened = whitened @ root_of(gram, damping)
    left, values, _ = torch.linalg.svd(whitened, full_matrices=False)
    return Spectrum(left, values)


def factors(weight: Tensor, found: Spectrum, rank: int) -> tuple[Tensor, Tensor]:
    """A (out, rank) and B (rank, in) with A B = U Uᵀ W, float32.

    The roots of the singular values are divided between both, so that neither is harder to round than the other.
    """
    left, values = found.left[:, :rank], found.values[:rank]
    largest = float(values.max()) if values.numel() else 0.0
    share = (values / largest).clamp_min(SMALLEST).sqrt() if largest > 0 else torch.ones_like(values)
    return (left * share).float(), ((left / share).T @ weight.detach().double()).float()


def rank_of_energy(values: Tensor, energy: float) -> int:
    """The smallest rank whose squared singular values hold this share of all: values (n,), falling."""
    held = values.double().square().cumsum(0)
    if float(held[-1]) == 0.0:
        return 1
    return min(int((held < energy * held[-1] * (1 - 1e-12)).sum()) + 1, len(values))


def rank_of_share(out: int, width: int, share: float) -> int:
    """The largest rank whose two matrices hold at most this share of the parameters of one (out, width); 1 at least."""
    return max(1, int(share * out * width / (out + width) + 1e-9))


def saves(out: int, width: int, rank: int) -> bool:
    """Whether two thin matrices hold fewer parameters than the one that they stand for."""
    return rank * (out + width) < out * width
