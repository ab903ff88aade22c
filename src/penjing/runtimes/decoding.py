"""Token by token with a key-value cache. A decoder is started with what it listens to, then fed tokens."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from penjing.errors import ArtifactError
from penjing.runtimes.engine import Graph
from penjing.runtimes.sampling import Pick, likeliest
from penjing.values import Array, Arrays, FloatArray

LOOP_TURNS = 3
MIN_LOOP_TOKENS = 12

Fed = Sequence[int] | FloatArray
"""What a decoder reads: tokens, or (tokens, width) embeddings where its graph has no table of words."""


class Decoder(Protocol):
    """A decoder with its cache inside. One text at a time: what is written in turns needs a decoder each (`fork`)."""

    def fork(self) -> Decoder:
        """Another decoder of the same graph, weights shared, with an empty cache of its own."""

    def start(self, heard: Arrays) -> None:
        """Forget all past tokens and listen to these cross-attention keys and values from now on."""

    def rewind(self) -> None:
        """Forget all past tokens, listen on."""

    def step(self, tokens: Fed) -> FloatArray:
        """Read tokens and return the logits after the last one, (vocabulary,) float32."""

    def read(self, tokens: Fed) -> FloatArray:
        """Read tokens and return the logits after each, (tokens, vocabulary) float32."""


def is_own_past(name: str) -> bool:
    """Whether an input holds keys or values of what was written, not of what is listened to."""
    return name.startswith("past_key_values.") and ".encoder." not in name


def token_inputs(tokens: Fed, past: int) -> dict[str, Array]:
    """What graphs may ask of new tokens: the tokens, which of all may be looked at, and their places."""
    count = len(tokens)
    if isinstance(tokens, np.ndarray):
        read = {"inputs_embeds": tokens[None]}
    else:
        read = {"input_ids": np.array([tokens], np.int64)}
    return {
        **read,
        "attention_mask": np.ones((1, past + count), np.int64),
        "position_ids": np.arange(past, past + count, dtype=np.int64)[None],
    }


Allowed = Callable[[FloatArray, Sequence[int]], FloatArray]
"""Takes logits and the tokens before, and sets to minus infinity, in place, what must not follow."""


class GraphDecoder:
    """A decoder graph with explicit `past_key_values` inputs and `present` outputs, in any engine."""

    def __init__(self, graph: Graph, settings: Mapping[str, Any]) -> None:
        self._graph, self._settings = graph, settings
        shape = settings["decoder"]
        self._empty = (1, shape["heads"], 0, shape["head_width"])
        self._past: dict[str, Array] = {}

    def fork(self) -> GraphDecoder:
        """Another one of the same graph."""
        return GraphDecoder(self._graph, self._settings)

    def start(self, heard: Arrays) -> None:
        """Take `present.N.encoder.*` as the encoder's side of the past, and an empty decoder side."""
        self._past = {name.replace("present.", "past_key_values."): array for name, array in heard.items()}
        self.rewind()

    def rewind(self) -> None:
        """Empty the decoder's side of the past."""
        self._length = 0
        for name in self._graph.inputs:
            if is_own_past(name):
                self._past[name] = np.zeros(self._empty, self._graph.dtype(name))

    def step(self, tokens: Fed) -> FloatArray:
        """Run the graph and keep what it says is present."""
        logits: FloatArray = self.read(tokens)[-1]
        return logits

    def read(self, tokens: Fed) -> FloatArray:
        """The same, with the logits after every token."""
        found = self._graph({**token_inputs(tokens, self._length), **self._past})
        self._length += len(tokens)
        for name, array in found.items():
            if name.startswith("present."):
                self._past[name.replace("present.", "past_key_values.")] = array
        logits: FloatArray = found["logits"][0]
        return logits


class DecoderPool:
    """Decoders of one graph, so that iterators consumed in turns write with a cache each.

    Threads may take decoders at the same time.
    """

    MAX_IDLE = 2
    """Decoders kept for the next text; further ones are dropped with their caches."""

    def __init__(self, first: Decoder) -> None:
        self._first = first
        self._idle = deque([first])

    def take(self) -> Decoder:
        """A decoder that nobody else uses; the caller keeps it or hands it back to `put`."""
        try:
            return self._idle.pop()
        except IndexError:
            return self._first.fork()

    def put(self, decoder: Decoder) -> None:
        """Hand a decoder back."""
        if len(self._idle) < self.MAX_IDLE:
            self._idle.append(decoder)

    @contextmanager
    def started(self, context: Arrays) -> Iterator[Decoder]:
        """A decoder that attends to `context` (encoder keys and values by name; empty for none) inside of the block."""
        decoder = self.take()
        try:
            decoder.start(context)
            yield decoder
        finally:
            self.put(decoder)


@dataclass(frozen=True, slots=True)
class Spelled:
    """Tokens without the end token, the mean log-likelihood of a token, and whether the decoder began to loop."""

    tokens: tuple[int, ...]
    mean_log_likelihood: float
    looped: bool


def greedy(decoder: Decoder, prompt: Sequence[int], end: int, limit: int, banned: Allowed | None = None) -> Spelled:
    """Take the most likely token until `end`, until `limit` tokens, or until the same words come round and round."""
    return spelled_from(decoder, decoder.step(prompt), end, limit, banned)


def spelled_from(decoder: Decoder, logits: FloatArray, end: int, limit: int, banned: Allowed | None = None) -> Spelled:
    """The same of a decoder that has read its prompt; `logits` (vocabulary,) are those after it."""
    tokens: list[int] = []
    scored, log_likelihood = 0, 0.0
    for place in range(limit):
        allowed = banned(logits, tokens) if banned else logits
        best = int(allowed.argmax())
        log_likelihood += float(allowed[best] - log_sum_exp(allowed))
        scored = place + 1
        if best == end:
            break
        tokens.append(best)
        period = loop_period(tokens)
        if period:
            kept = tokens[: len(tokens) - LOOP_TURNS * period + period]
            return Spelled(tuple(kept), log_likelihood / scored, True)
        if place + 1 < limit:
            logits = decoder.step([best])
    return Spelled(tuple(tokens), log_likelihood / max(scored, 1), False)


def written_tokens(
    decoder: Decoder, prompt: Fed, ends: Collection[int], limit: int, pick: Pick = likeliest
) -> Generator[int, None, bool]:
    """Yield the picked token each time, as soon as it is known, until one of `ends` or until `limit` tokens.

    Returns whether it was cut at the limit.
    """
    logits = decoder.step(prompt)
    for place in range(limit):
        token = pick(logits)
        if token in ends:
            return False
        yield token
        if place + 1 < limit:
            logits = decoder.step([token])
    return True


def loop_period(tokens: Sequence[int]) -> int:
    """Length of the phrase that the last tokens repeat LOOP_TURNS times, 0 where they repeat none.

    A phrase has at least MIN_LOOP_TOKENS tokens in all its turns together, so that "no no no" is speech and not a loop.
    """
    for period in range(1, len(tokens) // LOOP_TURNS + 1):
        stretch = tokens[-LOOP_TURNS * period :]
        if period * LOOP_TURNS >= MIN_LOOP_TOKENS and all(
            stretch[place] == stretch[place % period] for place in range(period, len(stretch))
        ):
            return period
    return 0


class Banned:
    """Sets the logits of tokens that must not appear to minus infinity; some only as the first token."""

    def __init__(self, always: Collection[int], at_first: Collection[int]) -> None:
        self._always = np.array(sorted(always), np.int64)
        self._at_first = np.array(sorted({*always, *at_first}), np.int64)

    def __call__(self, logits: FloatArray, tokens: Sequence[int]) -> FloatArray:
        """Change the logits of what follows these tokens in place and return them."""
        banned = self._always if tokens else self._at_first
        if banned.size and banned[-1] >= logits.size:
            raise ArtifactError(
                f"the settings suppress token {banned[-1]}, the decoder knows {logits.size}",
                hint="are settings and graphs of one artifact? copy it again",
            )
        logits[banned] = -np.inf
        return logits


def log_sum_exp(logits: FloatArray) -> float:
    """log Σ exp of logits (n,); minus infinity of none, or where none is allowed."""
    top = float(logits.max(initial=-np.inf))
    return top + float(np.log(np.exp(logits - top).sum())) if np.isfinite(top) else -np.inf
