"""Tokens drawn by their chance, from the likely ones alone, the same ones again from one seed."""

from __future__ import annotations

import numpy as np
import pytest

from penjing.errors import DataError
from penjing.runtimes.decoding import written_tokens
from penjing.runtimes.pieces import Ending, pieces_of, until
from penjing.runtimes.sampling import Sampling

pytestmark = pytest.mark.shop

LOGITS = np.log(np.array([0.1, 0.5, 0.15, 0.25], np.float32))


def shares(sampling: Sampling, draws: int = 4000) -> np.ndarray:
    pick = sampling.picker()
    return np.bincount([pick(LOGITS) for _ in range(draws)], minlength=4) / draws


def test_at_zero_the_likeliest_is_taken():
    assert {Sampling().picker()(LOGITS) for _ in range(50)} == {1}


@pytest.mark.parametrize(("temperature", "wanted"), [
    (1.0, [0.1, 0.5, 0.15, 0.25]), (0.5, np.array([0.01, 0.25, 0.0225, 0.0625]) / 0.345)
])  # fmt: skip
def test_tokens_are_drawn_by_their_chance_and_more_so_when_it_is_cold(temperature, wanted):
    assert shares(Sampling(temperature, seed=3)) == pytest.approx(wanted, abs=0.03)


@pytest.mark.parametrize(
    ("top_p", "kept"), [(0.4, {1}), (0.5, {1}), (0.51, {1, 3}), (0.8, {1, 2, 3}), (1.0, {0, 1, 2, 3})]
)
def test_only_the_likely_ones_that_make_up_a_share_are_drawn(top_p, kept):
    found = shares(Sampling(1.0, top_p, seed=1))
    assert set(np.flatnonzero(found).tolist()) == kept
    whole = np.exp(LOGITS)[[*kept]].sum()
    assert found[1] == pytest.approx(0.5 / whole, abs=0.03)


def test_one_seed_one_text():
    pick, again, other = (Sampling(1.0, seed=seed).picker() for seed in (5, 5, 6))
    first = [pick(LOGITS) for _ in range(40)]
    assert [again(LOGITS) for _ in range(40)] == first
    assert [other(LOGITS) for _ in range(40)] != first


def test_huge_logits_are_drawn_from_all_the_same():
    assert Sampling(0.01, seed=0).picker()(np.array([-1e30, 3e4, 2.9e4], np.float32)) == 1


@pytest.mark.parametrize(
    "wrong", [{"temperature": -1}, {"temperature": float("nan")}, {"top_p": 0}, {"top_p": 1.1}, {"seed": -1}]
)
def test_what_draws_nothing_is_refused(wrong):
    with pytest.raises(DataError):
        Sampling(**wrong)


@pytest.mark.parametrize(
    ("pieces", "stop", "wanted"),
    [
        (["one ", "two ", "three"], ["two"], "one "),
        (["on", "e tw", "o three"], ["two"], "one "),
        (["a##", "#b"], ["###"], "a"),
        (["ab", "ac"], ["abx", "ca"], "abac"),
        (["x END y"], ["y", "END"], "x "),
        (["stop"], ["stop"], ""),
        (["as it is"], [], "as it is"),
    ],
)
def test_text_ends_before_what_stops_it_however_it_is_cut(pieces, stop, wanted):
    found = [*until(stop, pieces)]
    assert "".join(found) == wanted
    assert all(found)


def ended(written):
    """Whether what was written says that it was cut."""
    ending = Ending(written)
    return [*ending], ending.was_cut


def test_what_is_written_knows_whether_it_was_cut():
    class Counts:
        def step(self, tokens):
            return np.eye(8, dtype=np.float32)[tokens[-1] + 1]

    class Letters:
        def decode(self, tokens, skip_special_tokens):
            return "".join("abcdefgh"[token] for token in tokens)

    for limit, stop, text, is_cut in ((10, (), "bcde", False), (4, (), "bcde", True), (5, (), "bcde", False),
                                      (3, ("e",), "bcd", True), (4, ("e",), "bcd", False), (10, ("ex",), "bcde", False),
                                      (4, ("ex",), "bcde", True)):  # fmt: skip
        tokens = written_tokens(Counts(), [0], {5}, limit)
        pieces, was_cut = ended(until(stop, pieces_of(Letters(), tokens)))
        assert ("".join(pieces), was_cut) == (text, is_cut), (limit, stop)
    assert ended(["plain"]) == (["plain"], False)


def test_an_empty_text_does_not_stop():
    with pytest.raises(DataError, match="stops everything"):
        [*until(["a", ""], ["b"])]
