"""Times between words: what may follow what, and the stretches that come of it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penjing.runtimes.decoding import Banned, greedy
from penjing.runtimes.stamps import Stamped, Stretch, stretches

pytestmark = pytest.mark.shop

END, FIRST, VOCABULARY = 20, 30, 200
"""Words are below 20; 29 says: no times; from 30 on a token is 0.02 s."""


def stamped(clip_s: float = 2.0) -> Stamped:
    return Stamped(Banned([3], [3, END]), FIRST, END, clip_s)


def may_follow(*tokens: int, clip_s: float = 2.0, likely: dict[int, float] | None = None) -> set[int]:
    logits = np.zeros(VOCABULARY, np.float32)
    logits[:FIRST] = 10.0  # no mass of times outweighs a word, unless a test says so
    for token, value in (likely or {}).items():
        logits[token] = value
    return set(np.flatnonzero(np.isfinite(stamped(clip_s)(logits, tokens))).tolist())


def at(seconds: float) -> int:
    return FIRST + round(seconds / 0.02)


def test_a_clip_begins_with_a_time_within_its_first_second():
    assert may_follow() == set(range(at(0), at(1.0) + 1))
    assert may_follow(clip_s=0.5) == set(range(at(0), at(0.5) + 1))


def test_behind_the_time_that_opens_come_words_and_not_those_that_are_banned():
    assert may_follow(at(0.4)) == set(range(FIRST - 1)) - {3}


def test_words_end_with_a_later_time_and_the_next_begin_with_one_not_earlier():
    found = may_follow(at(0.4), 5)
    assert {5, END} <= found
    assert min(token for token in found if token >= FIRST) == at(0.4) + 1
    after = may_follow(at(0.4), 5, at(1.0))
    assert END in after
    assert not after & set(range(END))
    assert min(token for token in after if token >= FIRST) == at(1.0)


def test_a_time_is_told_where_all_times_together_are_likelier_than_any_word():
    assert END in may_follow(at(0), 5)
    likely = dict.fromkeys(range(at(0.5), at(1.0)), 9.0)  # 25 of e⁹ are more than one of e¹⁰
    assert min(may_follow(at(0), 5, likely=likely)) >= FIRST


def test_no_time_is_behind_the_end_of_the_clip():
    assert max(may_follow(at(0), 5, clip_s=1.0)) == at(1.0)


@given(st.lists(st.integers(0, VOCABULARY - 1), min_size=1, max_size=40), st.floats(0.1, 3.0))
def test_whatever_a_decoder_wishes_times_never_run_backwards(wishes, clip_s):
    class Wishes:
        place = -1

        def step(self, tokens: object) -> np.ndarray:
            self.place += 1
            logits = np.zeros(VOCABULARY, np.float32)
            logits[wishes[self.place % len(wishes)]] = 5.0
            return logits

    spelled = greedy(Wishes(), [1], END, 30, stamped(clip_s))  # type: ignore[arg-type]
    times = [token for token in spelled.tokens if token >= FIRST]
    assert times == sorted(times)
    found = stretches(spelled.tokens, FIRST, clip_s)
    assert all(0 <= one.start_s <= one.end_s <= clip_s + 1e-9 for one in found)
    assert sum(len(one.tokens) for one in found) == sum(token < FIRST for token in spelled.tokens)


def test_stretches_are_what_stands_between_times():
    tokens = [at(0.2), 5, 6, at(1.0), at(1.4), 7, at(2.0), at(2.0), 8]
    wanted = [Stretch(0.2, 1.0, (5, 6)), Stretch(1.4, 2.0, (7,)), Stretch(2.0, 3.0, (8,))]
    found = stretches(tokens, FIRST, 3.0)
    assert [one.tokens for one in found] == [one.tokens for one in wanted]
    assert [time for one in found for time in (one.start_s, one.end_s)] == pytest.approx(
        [time for one in wanted for time in (one.start_s, one.end_s)]
    )
    assert stretches([], FIRST, 3.0) == []
