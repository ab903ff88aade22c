"""Spelling token by token: where it stops, what it must not say, when it goes round in circles."""

from __future__ import annotations

import numpy as np
import pytest

from penjing.runtimes.decoding import LOOP_TURNS, MIN_LOOP_TOKENS, Banned, GraphDecoder, greedy, loop_period

pytestmark = pytest.mark.shop

END = 0


class Script:
    """A decoder that wants to say these tokens, one after the other, whatever it is told."""

    def __init__(self, wishes: list[list[int]], vocabulary: int = 50) -> None:
        self.wishes, self.vocabulary = wishes, vocabulary
        self.read: list[list[int]] = []

    def start(self, heard) -> None:
        self.read = []

    def rewind(self) -> None:
        self.read = []

    def step(self, tokens):
        place = min(len(self.read), len(self.wishes) - 1)
        self.read.append(list(tokens))
        logits = np.zeros(self.vocabulary, np.float32)
        for rank, token in enumerate(self.wishes[place]):
            logits[token] = 10.0 - rank
        return logits


def says(*tokens: int) -> Script:
    return Script([[token] for token in tokens])


def test_it_stops_at_the_end_token_and_reads_what_it_said():
    decoder = says(5, 6, 7, END)
    spelled = greedy(decoder, [1, 2], END, 20)
    assert spelled.tokens == (5, 6, 7)
    assert not spelled.looped
    assert decoder.read == [[1, 2], [5], [6], [7]]


def test_it_stops_at_the_limit_without_one_step_too_many():
    decoder = says(5, 6, 7, 8, 9)
    assert greedy(decoder, [1], END, 3).tokens == (5, 6, 7)
    assert decoder.read == [[1], [5], [6]]
    assert greedy(says(5), [1], END, 0).tokens == ()


def test_the_mean_log_likelihood_is_of_every_token_that_was_chosen():
    one = 10.0 - float(np.log(np.exp(10.0) + 49))
    assert greedy(says(5, 6, END), [1], END, 9).mean_log_likelihood == pytest.approx(one, abs=1e-5)
    assert greedy(says(5, 6, 7), [1], END, 2).mean_log_likelihood == pytest.approx(one, abs=1e-5)
    assert greedy(says(5), [1], END, 0).mean_log_likelihood == 0.0


def test_banned_tokens_give_way_to_the_next_best():
    decoder = Script([[END, 3, 4], [3, END, 4], [END]])
    spelled = greedy(decoder, [1], END, 9, Banned(always=[3], at_first=[END]))
    assert spelled.tokens == (4,)
    assert np.isfinite(spelled.mean_log_likelihood)


def test_a_loop_is_noticed_and_said_once():
    phrase = [7, 8, 9, 10]
    spelled = greedy(says(5, 6, *phrase * 10), [1], END, 60)
    assert spelled.looped
    assert spelled.tokens == (5, 6, *phrase)


@pytest.mark.parametrize(
    ("tokens", "period"),
    [
        ([], 0),
        ([4] * (MIN_LOOP_TOKENS - 1), 0),  # "no no no" is speech
        ([4] * MIN_LOOP_TOKENS, 4),  # the shortest phrase of which three turns are long enough
        ([1, 2, 3, 4] * LOOP_TURNS, 4),
        ([9, 9, *[1, 2, 3, 4] * LOOP_TURNS], 4),
        ([1, 2, 3, 4] * (LOOP_TURNS - 1), 0),
        ([1, 2, 3] * LOOP_TURNS, 0),
        ([*[1, 2, 3, 4] * LOOP_TURNS, 5], 0),
        (list(range(40)), 0),
    ],
)
def test_the_period_of_a_loop(tokens, period):
    assert loop_period(tokens) == period


class Echo:
    """A graph whose cache is the tokens it has read, and whose logits point at how many they are."""

    inputs = ("input_ids", "past_key_values.0.decoder.key", "past_key_values.0.encoder.key")
    outputs = ("logits", "present.0.decoder.key")

    def dtype(self, name):
        return np.dtype(np.float32)

    def __call__(self, arrays):
        assert arrays["past_key_values.0.encoder.key"].shape == (1, 2, 5, 3)
        new = np.repeat(arrays["input_ids"].astype(np.float32)[:, None, :, None], 2, 1).repeat(3, 3)
        grown = np.concatenate([arrays["past_key_values.0.decoder.key"], new], 2)
        logits = np.zeros((1, arrays["input_ids"].shape[1], 9), np.float32)
        logits[:, -1, grown.shape[2]] = 1
        return {"logits": logits, "present.0.decoder.key": grown}


def test_a_graph_keeps_what_it_says_is_present():
    decoder = GraphDecoder(Echo(), {"decoder": {"heads": 2, "head_width": 3}})
    decoder.start({"present.0.encoder.key": np.zeros((1, 2, 5, 3), np.float32)})
    assert decoder.step([4, 5, 6]).argmax() == 3
    assert decoder.step([7]).argmax() == 4
    decoder.rewind()
    assert decoder.step([7]).argmax() == 1
    decoder.start({"present.0.encoder.key": np.ones((1, 2, 5, 3), np.float32)})
    assert decoder.step([7, 7]).argmax() == 2
