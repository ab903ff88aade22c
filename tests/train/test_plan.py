"""Rates, means and the clock."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from penjing.train.average import Average
from penjing.train.plan import Plan


def test_the_rate_rises_and_falls():
    plan = Plan(100, peak_rate=2.0, warm_up=10, floor=0.1)
    rates = [plan.rate(step) for step in range(100)]
    assert rates[:10] == pytest.approx([0.2 * (step + 1) for step in range(10)])
    assert max(rates) == pytest.approx(2.0)
    assert rates[-1] == pytest.approx(0.2, rel=0.05)
    assert all(after <= before for before, after in pairwise(rates[10:]))


def test_a_short_run_warms_up_in_a_quarter_of_it():
    assert Plan(8, peak_rate=1.0, warm_up=10).rate(2) == pytest.approx(1.0)


def test_the_mean_forgets_the_start():
    parameter = torch.zeros(1)
    average = Average({"one": parameter}, 0.5)
    parameter.fill_(1.0)
    average.take_in(1)  # decay min(0.5, 1 / 10)
    assert average.values["one"].item() == pytest.approx(0.9)
    for step in range(9, 12):
        average.take_in(step)
    assert average.values["one"].item() == pytest.approx(1 - 0.1 * 0.5**3)


def test_the_mean_stands_in_for_a_while():
    parameter = torch.ones(1)
    average = Average({"one": parameter}, 0.5)
    parameter.fill_(3.0)
    with average.in_place():
        assert parameter.item() == 1.0
    assert parameter.item() == 3.0
