"""Round to nearest against a plain loop in float64; what clipping and grids promise."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from penjing.tensor.grid import activation_grid, fake_quantize, quantize, relative_error

NEAR_TIE = 1e-4
BITS = (8, 4, 3, 2)
GROUPS = (0, 32, 64, 128)


def check_against_loop(weight: torch.Tensor, bits: int, group: int, symmetric: bool) -> None:
    """Compare codes and weights number by number; a number between two codes in float64 may go to either."""
    found = quantize(weight, bits, group, symmetric=symmetric)
    width, most = weight.shape[1], 2**bits - 1
    size = group or width
    codes, dense = found.codes.flatten(1).tolist(), found.dequantize(width).tolist()
    for row, numbers in enumerate(weight.double().tolist()):
        for start in range(0, width, size):
            part = numbers[start : start + size]
            scale, exact_zero = fit_by_hand(part, bits, symmetric)
            zero = float(found.zeros[row, start // size])
            assert abs(zero - exact_zero) <= 0.5 + NEAR_TIE
            for column, number in enumerate(part, start):
                steps = number / scale
                code, wanted = codes[row][column], min(max(round(steps) + zero, 0), most)
                tie = abs(abs(steps - int(steps)) - 0.5) < NEAR_TIE * max(1.0, abs(steps))
                assert code == wanted or (tie and abs(code - wanted) == 1), (row, column)
                assert dense[row][column] == pytest.approx((code - zero) * scale, rel=1e-5, abs=1e-12)


def fit_by_hand(part: list[float], bits: int, symmetric: bool) -> tuple[float, float]:
    """Scale and unrounded zero of one group, as the docstrings say."""
    if symmetric:
        return max(map(abs, part)) / (1.5 if bits == 2 else 2 ** (bits - 1) - 1), 2.0 ** (bits - 1)
    low, high = min(0.0, *part), max(0.0, *part)
    scale = (high - low) / (2**bits - 1)
    return scale, -low / scale


@pytest.mark.parametrize("symmetric", [True, False], ids=["symmetric", "asymmetric"])
@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("bits", BITS)
def test_equals_a_loop_in_float64(bits, group, symmetric):
    source = torch.Generator().manual_seed(bits + group)
    for width in (128, 80, 33):  # the last ones divided by no group
        check_against_loop(torch.randn(3, width, generator=source) + 0.2, bits, group, symmetric)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=1), min_size=1, max_size=40),
    st.sampled_from(BITS),
    st.booleans(),
)
def test_equals_the_loop_on_any_numbers(column, bits, symmetric):
    weight = torch.tensor(column, dtype=torch.float32).T + 0.5
    if float(weight.abs().max()) > 1e-3:
        check_against_loop(weight, bits, 0, symmetric)


@pytest.mark.parametrize("symmetric", [True, False], ids=["symmetric", "asymmetric"])
@pytest.mark.parametrize("bits", BITS)
def test_no_weight_moves_further_than_half_a_step(bits, symmetric):
    weight = torch.randn(8, 96, generator=torch.Generator().manual_seed(1))
    codes = quantize(weight, bits, 32, symmetric=symmetric)
    steps = codes.scales.repeat_interleave(32, 1)
    slack = 1.0 if not symmetric else 0.5  # a zero point rounded to a whole code moves the ends by half a step more
    assert ((weight - codes.dequantize(96)).abs() <= slack * steps * (1 + 1e-5)).all()


@pytest.mark.parametrize("symmetric", [True, False], ids=["symmetric", "asymmetric"])
@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("group", [0, 32])
def test_clipping_is_never_worse_in_any_group(bits, group, symmetric):
    source = torch.Generator().manual_seed(2)
    weight = torch.randn(16, 64, generator=source) * torch.rand(16, 64, generator=source).pow(3)

    def errors(clip: bool) -> torch.Tensor:
        codes = quantize(weight, bits, group, symmetric=symmetric, clip=clip)
        return (codes.dequantize(64) - weight).square().reshape(16, -1, group or 64).sum(-1)

    assert (errors(True) <= errors(False) * (1 + 1e-5)).all()


def test_clipping_pays_where_there_are_outliers():
    weight = torch.randn(4, 256, generator=torch.Generator().manual_seed(3))
    weight[:, 0] = 6.0
    plain, clipped = (quantize(weight, 4, clip=clip).dequantize(256) for clip in (False, True))
    assert relative_error(weight, clipped) < 0.9 * relative_error(weight, plain)


@pytest.mark.parametrize("symmetric", [True, False], ids=["symmetric", "asymmetric"])
@pytest.mark.parametrize("clip", [True, False])
def test_zeros_stay_zeros(symmetric, clip):
    weight = torch.randn(4, 40, generator=torch.Generator().manual_seed(4))
    weight[1] = 0
    weight[:, 7] = 0
    dense = quantize(weight, 4, 32, symmetric=symmetric, clip=clip).dequantize(40)
    assert torch.equal(dense == 0, dense.eq(0) | weight.eq(0))
    assert (dense[1] == 0).all()
    assert (dense[:, 7] == 0).all()


def test_a_group_of_one_sign_still_holds_zero():
    codes = quantize(torch.full((1, 32), 5.0), 4, symmetric=False)
    assert codes.zeros.item() == 0
    assert torch.allclose(codes.dequantize(32), torch.full((1, 32), 5.0))


def test_relative_error():
    assert relative_error(torch.tensor([3.0, 4.0]), torch.tensor([3.0, 3.0])) == pytest.approx(0.2)
    assert relative_error(torch.zeros(3), torch.zeros(3)) == 0.0


@given(st.floats(-1e4, 1e4), st.floats(-1e4, 1e4), st.sampled_from([127, 255]))
def test_the_grid_of_activations_covers_its_range_and_zero(one, other, top):
    low, high = sorted((one, other))
    scale, zero = activation_grid(low, high, top)
    assert 0 <= zero <= top
    ends = fake_quantize(torch.tensor([low, 0.0, high]), torch.tensor(scale), torch.tensor(float(zero)), top)
    assert ends[1] == 0
    assert abs(float(ends[0]) - min(low, 0)) <= scale * 1.01 or low > 0
    assert abs(float(ends[2]) - max(high, 0)) <= scale * 1.01 or high < 0


def test_values_beyond_the_grid_are_clipped():
    values = torch.tensor([-9.0, -1.0, 0.4, 1.6, 900.0])
    rounded = fake_quantize(values, torch.tensor(1.0), torch.tensor(2.0), 127)
    assert rounded.tolist() == [-2.0, -1.0, 0.0, 2.0, 125.0]
    assert values.tolist()[0] == -9.0
