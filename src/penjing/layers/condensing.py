"""A connector that gives fewer tokens: what a decoder reads of a picture becomes shorter, and so does every prompt."""

from __future__ import annotations

from typing import Any, Self

from torch import Tensor, nn

from penjing.layers.around import Around
from penjing.layers.described import Description
from penjing.layers.merging import MATCHINGS, Matching
from penjing.tensor.merge import merge_down


class CondensedConnector(Around):
    """A connector, its weights where they always were, before a merging of what it gives.

    (pictures, tokens, width) -> (pictures, keep, width). Unlike a block's, these tokens are not given back: a decoder
    has as many places for a picture as there are.
    """

    def __init__(self, connector: nn.Module, keep: int, match: Matching = "global") -> None:
        super().__init__(connector)
        self.keep, self.match = keep, match

    def describe(self) -> dict[str, Any]:
        """How many tokens stay."""
        return {"keep": self.keep, "match": self.match}

    @classmethod
    def around(cls, inner: nn.Module, spec: Description) -> Self:
        """Keep as many as described."""
        return cls(inner, spec["keep"], spec["match"])

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """Connect, then merge what says the same."""
        return merge_down(self.inner(*args, **kwargs), self.keep, MATCHINGS[self.match])


def tokens_left(connector: nn.Module) -> int | None:
    """How many tokens of a picture stay, if they are reduced at all."""
    return connector.keep if isinstance(connector, CondensedConnector) else None
