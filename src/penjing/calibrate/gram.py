"""Second moments of what a site sees, H = X Xᵀ over all tokens: what GPTQ, AWQ and low rank weigh errors by."""

from __future__ import annotations

import torch
from torch import Tensor

from penjing.calibrate.balance import Weigh
from penjing.calibrate.walk import Statistic
from penjing.models.tower import Batch

SMALLEST = 1e-12
"""Root of the mean square below which a token says nothing."""
PANELS = 4
"""Strips in which a product is made: what lies wholly below the diagonal, 3/8 of the work, is left out."""


def upper_product(left: Tensor, right: Tensor) -> Tensor:
    """Xᵀ Y of two (tokens, in) whose product is symmetric -> (in, in); below the diagonal not all is there."""
    width = right.shape[1]
    edge = -(-width // PANELS)
    product = torch.zeros(width, width)
    for first in range(0, width, edge):
        product[first : first + edge, first:].addmm_(left[:, first : first + edge].T, right[:, first:])
    return product


class Gram(Statistic):
    """H (in, in), how many tokens it sums, and whether any was not finite."""

    def __init__(self, products: Products) -> None:
        self.tokens = 0
        self._upper: Tensor | None = None
        self._products = products

    @property
    def values(self) -> Tensor | None:
        """H so far; None before anything was seen."""
        return None if self._upper is None else self._upper.triu() + self._upper.triu(1).T

    def begin(self, batch: Batch) -> None:
        """Weigh the inputs that follow as those of this batch."""
        super().begin(batch)
        self._products.begin(batch)

    def see(self, values: Tensor) -> None:
        """Take in one input, (..., in)."""
        product, tokens = self._products.of(values)
        self.check(product.diagonal())
        self.tokens += tokens
        if self._upper is None:
            self._upper = product.clone()
        else:
            self._upper += product


class Products:
    """Xᵀ X of the newest input: queries, keys and values are made of one tensor, whose product is taken once.

    Hand `gram` to `walk` as what observes. `weigh` gives a weight for each token of a batch: Σ w x xᵀ. With `even`
    every token counts alike, however large it is: w = 1 / mean(x²).
    """

    def __init__(self, weigh: Weigh | None = None, *, even: bool = False) -> None:
        self._weigh = weigh
        self._even = even
        self._batch: Batch | None = None
        self._weights: Tensor | None = None
        self._newest: Tensor | None = None
        self._version = -1
        self._product: Tensor = torch.empty(0)

    def gram(self) -> Gram:
        """A statistic that shares this newest product."""
        return Gram(self)

    def begin(self, batch: Batch) -> None:
        """Hear of which batch the inputs that follow are."""
        if self._weigh is not None and batch is not self._batch:
            self._batch, self._weights = batch, self._weigh(batch)
            self._newest = None

    def of(self, values: Tensor) -> tuple[Tensor, int]:
        """Upper triangle of the product (in, in) and number of tokens of an input (..., in)."""
        known = self._newest
        same = known is not None and known.data_ptr() == values.data_ptr() and known.stride() == values.stride()
        if known is None or not same or known.shape != values.shape or values._version != self._version:
            rows = values.reshape(-1, values.shape[-1]).float()
            if self._even:
                rows = rows / rows.square().mean(1, keepdim=True).sqrt().clamp_min(SMALLEST)
            weighted = rows if self._weights is None else rows * self._weights_of(rows)
            self._product = upper_product(weighted, rows)
            self._newest, self._version = values, values._version  # held, so that its memory is not given to another
        return self._product, values.numel() // values.shape[-1]

    def _weights_of(self, rows: Tensor) -> Tensor:
        """The weights of these tokens, (tokens, 1)."""
        assert self._weights is not None
        if len(rows) != len(self._weights):
            raise ValueError(f"{len(rows)} tokens, {len(self._weights)} weights: a tower's `origins` are not its own")
        return self._weights[:, None]
