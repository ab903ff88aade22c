"""What each input carries: the diagonal of the Gram matrix, without the rest of it."""

from __future__ import annotations

import torch

from penjing.calibrate.energy import Energy
from penjing.calibrate.gram import Products

INPUTS = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(0))


def test_it_is_the_diagonal_of_the_gram_matrix():
    energy, gram = Energy(), Products().gram()
    for stat in (energy, gram):
        stat.see(INPUTS)
        stat.see(3 * INPUTS[:1])
    assert torch.allclose(energy.norm.square(), gram.values.diagonal(), rtol=1e-5)
    assert energy.tokens == gram.tokens == 15
    assert energy.finite


def test_the_first_item_that_is_not_finite_is_known():
    energy = Energy()
    for value in (1.0, float("inf"), 2.0):
        energy.begin({})
        energy.see(value * INPUTS)
    assert not energy.finite
    assert energy.bad_item == 1
