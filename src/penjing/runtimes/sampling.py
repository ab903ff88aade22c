"""Which token comes next: the likeliest, or one drawn from the likely ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from penjing.errors import DataError
from penjing.values import FloatArray

Pick = Callable[[FloatArray], int]
"""Takes the logits (vocabulary,) of the next token and chooses one."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are drawn. At a temperature of 0 the likeliest is taken, and nothing is left to chance.

    `top_p` keeps the likeliest tokens that make up this share (nucleus sampling, arXiv:1904.09751); the same `seed`
    draws the same text.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.temperature <= 100:
            raise DataError(f"a temperature of {self.temperature:g} draws nothing", hint="give 0 to 2")
        if not 0 < self.top_p <= 1:
            raise DataError(f"top_p is a share: {self.top_p:g} is none", hint="give more than 0 and at most 1")
        if self.seed is not None and self.seed < 0:
            raise DataError(f"{self.seed} is no seed", hint="give a whole number from 0")

    def picker(self) -> Pick:
        """A fresh choice, from its seed on."""
        if self.temperature == 0:
            return likeliest
        dice = np.random.default_rng(self.seed)
        return lambda logits: self._draw(logits, dice)

    def _draw(self, logits: FloatArray, dice: np.random.Generator) -> int:
        scaled = logits.astype(np.float64) / self.temperature
        chances = np.exp(scaled - scaled.max())
        chances /= chances.sum()
        order = np.argsort(-chances, kind="stable")
        before = np.cumsum(chances[order]) - chances[order]
        kept = order[before < self.top_p]
        return int(dice.choice(kept, p=chances[kept] / chances[kept].sum()))


@dataclass(frozen=True, slots=True)
class Style:
    """How something is written: most tokens, how they are drawn, texts before which it ends."""

    max_tokens: int = 64
    sampling: Sampling = field(default_factory=Sampling)
    stop: tuple[str, ...] = ()


PLAIN = Style()


def likeliest(logits: FloatArray) -> int:
    """The token of the largest logit, the first of several."""
    return int(logits.argmax())
