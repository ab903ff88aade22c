"""Optimal-brain updates against plain loops in float64, and what GPTQ owes: never worse outputs than rounding."""

from __future__ import annotations

import itertools

import pytest
import torch

from penjing.tensor.brain import gptq, inverse_root, output_error, sweep
from penjing.tensor.grid import Codes, fit_grid, quantize


def case(out: int, width: int, tokens: int = 200, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights, and the Gram matrix of inputs that are related to each other."""
    source = torch.Generator().manual_seed(seed)
    mixing = torch.randn(width, width, generator=source) / width**0.5
    inputs = torch.randn(tokens, width, generator=source) @ (mixing + 0.3 * torch.eye(width))
    inputs[:, 0] *= 8  # one input of large energy, as real layers have
    return torch.randn(out, width, generator=source), inputs.T @ inputs


def gptq_by_hand(weight: torch.Tensor, gram: torch.Tensor, bits: int, group: int, order: list[int]) -> torch.Tensor:
    """Frantar's algorithm as it is written: one column at a time, the inverse recomputed for what is left."""
    hessian = gram.double() + 0.01 * gram.diagonal().double().mean() * torch.eye(len(gram), dtype=torch.float64)
    size = group or len(gram)
    scales, zeros = (part.double() for part in fit_grid(weight, bits, size, importance=gram.diagonal()))
    rest, settled = weight.double().clone(), torch.zeros_like(weight, dtype=torch.float64)
    left = list(order)
    while left:
        column = left[0]
        inverse = torch.linalg.inv(hessian[left][:, left])
        scale, zero = scales[:, column // size], zeros[:, column // size]
        code = ((rest[:, column] / scale).round() + zero).clamp(0, 2**bits - 1)
        settled[:, column] = (code - zero) * scale
        lost = (rest[:, column] - settled[:, column]) / inverse[0, 0]
        rest[:, left] -= lost[:, None] * inverse[0][None, :]
        left = left[1:]
    return settled


@pytest.mark.parametrize("by_activation", [True, False])
@pytest.mark.parametrize(("bits", "group", "width"), [(4, 0, 24), (3, 8, 24), (2, 16, 40), (8, 0, 150)])
def test_gptq_equals_the_plain_algorithm_in_float64(bits, group, width, by_activation):
    weight, gram = case(6, width)
    order = gram.diagonal().argsort(descending=True, stable=True).tolist() if by_activation else list(range(width))
    found = gptq(weight, gram, (bits, group, True), 0.01, by_activation=by_activation).dequantize(width)
    wanted = gptq_by_hand(weight, gram, bits, group, order)
    # A value on a tie may go either way in float32, and what follows in its row with it.
    rows = (found.double() - wanted).abs().amax(1) < 1e-4 * weight.abs().max()
    assert int((~rows).sum()) <= 1
    assert output_error(weight, found, gram) == pytest.approx(output_error(weight, wanted.float(), gram), rel=0.05)


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize(("bits", "group"), [(4, 0), (4, 32), (3, 64), (2, 32)])
def test_gptq_never_loses_more_than_rounding(bits, group, symmetric):
    for seed in range(4):
        weight, gram = case(32, 96, seed=seed)
        settled = gptq(weight, gram, (bits, group, symmetric), 0.01, by_activation=True).dequantize(96)
        rounded = quantize(weight, bits, group, symmetric=symmetric, clip=True).dequantize(96)
        assert output_error(weight, settled, gram) < 0.9 * output_error(weight, rounded, gram)


def test_the_best_of_all_codes_is_hardly_better():
    """Brute force over a row of four weights of two bits: 256 possibilities."""
    for seed in range(10):
        weight, gram = case(1, 4, seed=seed)
        found = gptq(weight, gram, (2, 0, True), 0.01, by_activation=True)
        every = torch.tensor(list(itertools.product(range(4), repeat=4)), dtype=torch.uint8)
        errors = [
            output_error(weight, Codes(code.view(1, 1, 4), found.scales, found.zeros).dequantize(4), gram)
            for code in every
        ]
        assert min(errors) <= output_error(weight, found.dequantize(4), gram) <= 1.6 * min(errors) + 0.05


def test_unrelated_inputs_leave_nothing_to_make_up_for():
    weight, _ = case(5, 32)
    plain = quantize(weight, 4, 0, clip=True, importance=torch.ones(32))
    settled = gptq(weight, 7 * torch.eye(32), (4, 0, True), 0.01, by_activation=False)
    assert torch.equal(settled.codes, plain.codes)
    assert torch.equal(settled.scales, plain.scales)


def test_the_root_is_of_the_damped_inverse():
    _, gram = case(1, 20)
    root = inverse_root(gram, 0.01).double()
    damped = gram.double() + 0.01 * gram.diagonal().double().mean() * torch.eye(20)
    assert torch.equal(root, root.triu())
    assert torch.allclose(root.T @ root @ damped, torch.eye(20, dtype=torch.float64), atol=1e-4)


@pytest.mark.parametrize("tokens", [1, 5])
def test_too_few_tokens_and_dead_inputs_still_give_codes(tokens):
    weight, gram = case(4, 16, tokens)
    gram[3], gram[:, 3] = 0, 0
    found = gptq(weight, gram, (4, 0, True), 0.01, by_activation=True).dequantize(16)
    assert bool(torch.isfinite(found).all())
    assert float((found - weight).norm() / weight.norm()) < 1
    assert bool(torch.isfinite(inverse_root(torch.zeros(4, 4), 0.01)).all())


def test_settling_nothing_changes_nothing():
    weight, gram = case(3, 200)
    assert torch.equal(sweep(weight, inverse_root(gram, 0.01), lambda place, ahead: ahead[:, 0]), weight)


def test_padding_stands_for_zero():
    weight, gram = case(3, 40)
    for symmetric in (True, False):
        found = gptq(weight, gram, (4, 32, symmetric), 0.01, by_activation=True)
        assert found.codes.shape == (3, 2, 32)
        whole = found.dequantize(64)
        assert torch.equal(whole[:, 40:], torch.zeros(3, 24))


def test_the_output_error_is_that_of_the_outputs():
    weight, _ = case(5, 12)
    inputs = torch.randn(50, 12, generator=torch.Generator().manual_seed(3))
    rounded = weight + 0.1 * torch.randn(5, 12, generator=torch.Generator().manual_seed(4))
    wanted = ((weight - rounded) @ inputs.T).norm() / (weight @ inputs.T).norm()
    assert output_error(weight, rounded, inputs.T @ inputs) == pytest.approx(float(wanted), rel=1e-4)
