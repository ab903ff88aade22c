"""int8 weights that no CPU saturates: brute force over every pair, and `vpmaddubsw` played back in plain integers."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from penjing.tensor.grid import PAIR_LIMIT, TOP, is_pair_safe, quantize, quantize_pair_safe

LARGEST_INT16 = 2**15 - 1


def saturating_products(inputs: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
    """What a chip without VNNI makes of uint8 inputs (n, in) and int8 codes (out, in): neighbours summed in 16 bits."""
    odd = codes.shape[1] % 2
    inputs, codes = (torch.nn.functional.pad(part.long(), (0, odd)) for part in (inputs, codes))
    products = inputs[:, None, :] * codes[None, :, :]
    return products.reshape(*products.shape[:2], -1, 2).sum(-1).clamp(-(2**15), LARGEST_INT16).sum(-1)


def test_every_pair_that_is_let_through_fits_in_16_bits():
    for first in range(-128, 128):
        beside = {-128, -1, 0, 1, 127, 128 - abs(first), 129 - abs(first), abs(first) - 128, abs(first) - 129}
        for second in beside & {*range(-128, 128)}:
            extreme = max(abs(first * x + second * y) for x in (0, TOP) for y in (0, TOP))
            if is_pair_safe(torch.tensor([[first, second]], dtype=torch.int8)):
                assert extreme <= LARGEST_INT16
            else:
                assert extreme > LARGEST_INT16 - TOP  # no more is refused than needs to be
    assert LARGEST_INT16 >= 127 * (128 + 128)  # inputs of 7 bits meet any codes


def any_weights(rows: int, width: int, kind: str) -> torch.Tensor:
    source = torch.Generator().manual_seed(width)
    if kind == "gaussian":
        return torch.randn(rows, width, generator=source)
    if kind == "one sign":
        return 1 + 0.01 * torch.rand(rows, width, generator=source)
    if kind == "spikes":
        return torch.randn(rows, width, generator=source).pow(5)
    return torch.full((rows, width), 63.5)  # every pair on the tie that rounds up


@pytest.mark.parametrize("kind", ["gaussian", "one sign", "spikes", "ties"])
@pytest.mark.parametrize("width", [1, 2, 33, 64])
def test_the_engine_s_sum_is_the_exact_sum(kind, width):
    codes, scales = quantize_pair_safe(any_weights(16, width, kind))
    assert is_pair_safe(codes)
    assert codes.dtype == torch.int8
    assert scales.shape == (16,)
    source = torch.Generator().manual_seed(0)
    inputs = torch.cat([torch.full((1, width), TOP), torch.randint(0, TOP + 1, (8, width), generator=source)])
    assert torch.equal(saturating_products(inputs, codes), inputs.long() @ codes.long().T)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-1e3, 1e3, width=32), min_size=1, max_size=24))
def test_safe_on_any_row_with_half_a_step_of_error(row):
    weight = torch.tensor([row], dtype=torch.float32)
    codes, scales = quantize_pair_safe(weight)
    assert is_pair_safe(codes)
    assert int(codes.abs().max()) <= 127
    error = (codes.float() * scales[:, None] - weight).abs().max()
    assert float(error) <= 0.5 * float(scales) * (1 + 1e-5) + 1e-12
    assert float(scales) <= max(2 * float(weight.abs().max()) / (PAIR_LIMIT - 1), 1e-12) * (1 + 1e-6)


def test_it_costs_a_fraction_of_a_bit():
    weight = torch.randn(64, 512, generator=torch.Generator().manual_seed(0))
    codes, scales = quantize_pair_safe(weight)
    safe = (codes.float() * scales[:, None] - weight).norm()
    plain = (quantize(weight, 8).dequantize(512) - weight).norm()
    assert plain < safe < 1.5 * plain


def test_plain_8_bit_codes_do_saturate():
    codes = (quantize(torch.ones(1, 8), 8).codes.flatten(1).to(torch.int16) - 128).to(torch.int8)
    assert not is_pair_safe(codes)
    inputs = torch.full((1, 8), TOP)
    assert int(saturating_products(inputs, codes)) == 4 * LARGEST_INT16
    assert int(inputs.long() @ codes.long().T) > 4 * LARGEST_INT16
