"""Magnitude masks: exactly so many go, the smallest first."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from penjing.tensor.mask import magnitude_mask


@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(1, 12), st.floats(0, 1))
def test_exactly_the_smallest_go(seed, rows, columns, share):
    weight = torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed)).round(decimals=1)
    mask = magnitude_mask(weight, share)
    assert mask.shape == weight.shape
    assert (~mask).sum() == round(share * weight.numel())
    if mask.any() and not mask.all():
        assert weight[mask].abs().min() >= weight[~mask].abs().max()


def test_a_share_beyond_all():
    with pytest.raises(ValueError, match=r"1\.5"):
        magnitude_mask(torch.ones(2, 2), 1.5)


def test_of_equals_the_later_go():
    assert magnitude_mask(torch.ones(4), 0.5).tolist() == [True, True, False, False]
