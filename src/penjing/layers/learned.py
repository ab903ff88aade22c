"""Weights that learn while they are rounded: they stand in for the codes of a layer during training, and end as codes.

A scale is learned by its logarithm, so that one rate serves scales of every size.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from penjing.tensor.learned import learned_grid


class LearnedGrid(nn.Module):
    """(clamp(round(w / s) + z) − z) · s of a weight, with s = s₀ · exp(θ); w is learned, or its codes are kept.

    `weight` is cut as the scales are: (rows, groups, group) with scales and zeros (rows, groups, 1), or whatever is
    broadcast alike. Where `rounds` is false, codes stay as they are and only θ is learned.
    """

    weight: Tensor
    scales: Tensor
    zeros: Tensor
    mask: Tensor | None

    def __init__(self, weight: Tensor, scales: Tensor, zeros: Tensor, top: int, rounds: bool) -> None:
        super().__init__()
        self.top, self.rounds = top, rounds
        self.log_factor = nn.Parameter(torch.zeros_like(scales))
        self.register_buffer("scales", scales.clone())
        self.register_buffer("zeros", zeros.clone())
        self.register_buffer("mask", None)
        if rounds:
            self.latent = nn.Parameter(weight.detach().flatten(1).clone())
        else:
            self.register_buffer("codes", (weight / scales).round())
        self.shape = weight.shape

    def hide(self, mask: Tensor) -> None:
        """Keep zero what is false in a mask of the weight's shape."""
        self.mask = mask.view(self.shape)

    @property
    def learned_scales(self) -> Tensor:
        """Scales by now."""
        return self.scales * self.log_factor.exp()

    def forward(self) -> Tensor:
        """The weight as its codes stand for it, in its own shape."""
        scales = self.learned_scales
        if not self.rounds:
            return self.get_buffer("codes") * scales
        values = self.latent.view(self.shape)
        if self.mask is not None:
            values = values * self.mask
        return learned_grid(values, scales, self.zeros, self.top)

    @torch.no_grad()
    def settled(self) -> tuple[Tensor, Tensor]:
        """Codes, zero points added, and scales, in the shapes of weight and scales."""
        scales = self.learned_scales
        return (self() / scales).round() + self.zeros, scales
