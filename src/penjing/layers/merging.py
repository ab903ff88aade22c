"""Blocks of a tower that run on fewer tokens: they merge before the block, and the last one gives every token back.

How many tokens each stands for, where every first token went, and the keys that the block before compared them by
travel with the hidden states, as an attribute of the very tensor that one block gives and the next one takes. So blocks
can be run one by one, in any order of batches, and nothing is remembered between two runs.

Copies that are given back make whoever reads the tower afterwards right without knowing: a mean over them is the mean
weighted by sizes, attention to m copies of a key is attention to it with log m on its score (equation 1 of
arXiv:2210.09461), and a grid of patches is a grid again.

Where every token stays, attention may still look at means of neighbours: queries are of all tokens, keys and values of
fewer (spatial reduction, arXiv:2102.12122, section 3.3, with a mean in place of what is learned there). Nothing of a
token's own path is lost then, and the part of attention that grows with the square of their number is halved or less.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Self

import torch
from torch import Tensor, nn

from penjing.errors import DataError
from penjing.layers.around import Around
from penjing.layers.described import Description
from penjing.layers.overheard import Overheard
from penjing.tensor.merge import Matcher, match_all, match_neighbours, merge, pool, pool_sums, take

Matching = Literal["global", "local"]
MATCHINGS: dict[str, Matcher] = {"global": match_all, "local": match_neighbours}
SHARES = 1 << 20
"""A share of tokens is a fraction of this, so that a number of tokens known at run time is divided in integers."""
MASK_DIMENSIONS = 4
TRAIL, COMPACT = "_token_trail", "_token_compact"


class Trail(NamedTuple):
    """What travels with n hidden states that began as m tokens."""

    sizes: Tensor
    """How many tokens each stands for: (batch, n)."""
    rows: Tensor
    """Which of the n each of the m is in: (batch, m)."""
    metric: Tensor
    """What the tokens are compared by: (batch, n, any width)."""


class Compact(NamedTuple):
    """What hidden states were before their tokens were given back."""

    hidden: Tensor
    rows: Tensor


@dataclass(frozen=True, slots=True)
class Merging:
    """What a block merges: `count` tokens, or else a `share` of them; of each pair that `match` looks at.

    The first `protected` tokens stay. `proportional` gives attention the sizes; a block that `restores` gives every
    token back. Attention looks at means of every `keys` neighbours, in what the `makers` read: the layers of the block
    that make its keys and its values.
    """

    count: int = 0
    share: float = 0.0
    match: Matching = "global"
    protected: int = 0
    proportional: bool = True
    restores: bool = False
    keys: int = 1
    makers: tuple[str, ...] = ()

    def of(self, tokens: int) -> int:
        """How many of so many tokens merge."""
        free = tokens - self.protected
        return self.count or free * round(self.share * SHARES) // SHARES


class MergingBlock(Around):
    """A block of a tower, its weights where they always were, behind a merging of its tokens.

    hidden (batch, n, width) -> (batch, n - r, width), or all tokens there ever were if it `restores`.
    """

    def __init__(self, block: nn.Module, merging: Merging) -> None:
        super().__init__(block)
        self.merging = merging

    def describe(self) -> dict[str, Any]:
        """What it merges."""
        return {name: getattr(self.merging, name) for name in Merging.__slots__} | {"makers": [*self.merging.makers]}

    @classmethod
    def around(cls, inner: nn.Module, spec: Description) -> Self:
        """Merge as described."""
        told = {name: spec[name] for name in Merging.__slots__ if name in spec}
        return cls(inner, Merging(**{**told, "makers": tuple(told.get("makers", ()))}))

    def forward(self, hidden: Tensor, *args: Any, **kwargs: Any) -> Any:
        """Merge, run the block, hand on what the next one needs."""
        trail = trail_of(hidden)
        count = self.merging.of(hidden.shape[1])
        if count:
            hidden, trail = self._merged(hidden, trail, count)
        if trail or self.merging.keys > 1:
            args, kwargs = tuple(map(unmasked, args)), {name: unmasked(value) for name, value in kwargs.items()}
        sizes = trail.sizes if trail and self.merging.proportional else None
        makers = [self.get_submodule(name) for name in self.merging.makers]
        with pooled_inputs(makers, self.merging.keys, sizes) as counted, Overheard(counted) as attention:
            given = self.inner(hidden, *args, **kwargs)
        output, *others = given if isinstance(given, tuple) else (given,)
        if trail:
            output = self._handed_on(output, trail, attention.keys if self.merging.keys == 1 else None)
        return (output, *others) if isinstance(given, tuple) else output

    def _merged(self, hidden: Tensor, trail: Trail | None, count: int) -> tuple[Tensor, Trail]:
        """Before anything was attended to, tokens are compared by themselves."""
        sizes = torch.ones_like(hidden[:, :, 0]) if trail is None else trail.sizes
        match = MATCHINGS[self.merging.match](trail.metric if trail else hidden, count, self.merging.protected)
        merged, total = merge(hidden, sizes, match)
        rows = match.rows if trail is None else match.rows.gather(1, trail.rows)
        return merged, Trail(total, rows, merged)

    def _handed_on(self, output: Tensor, trail: Trail, keys: Tensor | None) -> Tensor:
        if self.merging.restores:
            whole = take(output, trail.rows)
            setattr(whole, COMPACT, Compact(output, trail.rows))
            return whole
        setattr(output, TRAIL, trail._replace(metric=output if keys is None else keys.transpose(1, 2).mean(2)))
        return output


@contextlib.contextmanager
def pooled_inputs(makers: Sequence[nn.Module], width: int, sizes: Tensor | None = None) -> Iterator[Tensor | None]:
    """While open, the makers read means of every `width` neighbours; gives how many tokens each key stands for.

    None where each stands for as many: of an odd number of tokens the last then counts for two, and attention is
    spared a weight for every score, which costs as much as a fifth of it. What all makers read is one tensor, pooled
    once; ranges of inputs are measured behind it.
    """
    if width == 1 or not makers:
        yield sizes
        return
    last: list[tuple[Tensor, Tensor]] = []

    def read(module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        if not last or last[-1][0] is not args[0]:
            last.append((args[0], pool(args[0], width, sizes)))
        return (last[-1][1], *args[1:])

    with contextlib.ExitStack() as hooks:
        for maker in makers:
            hooks.callback(maker.register_forward_pre_hook(read, prepend=True).remove)
        yield None if sizes is None else pool_sums(sizes[:, :, None], width)[:, :, 0]


def unmasked(value: Any) -> Any:
    """An argument of a block, without masks that hide nothing: those that hide something were made for other tokens.

    A mask (batch, 1, tokens or 1, tokens) is true or zero where a token may be looked at.
    """
    if not isinstance(value, Tensor) or value.dim() != MASK_DIMENSIONS:
        return value
    if not torch.compiler.is_exporting() and not hides_nothing(value):
        raise DataError("merged tokens cannot be masked", hint="give items one by one, without padding")
    return None


def hides_nothing(mask: Tensor) -> bool:
    """Whether every token may look at every other."""
    return bool(mask.all() if mask.dtype is torch.bool else (mask == 0).all())


def trail_of(hidden: Tensor) -> Trail | None:
    """What travels with hidden states, if anything of them was merged."""
    found: Trail | None = getattr(hidden, TRAIL, None)
    return found


def compact_of(hidden: Tensor) -> Compact | None:
    """What hidden states were before their tokens were given back, if they were."""
    found: Compact | None = getattr(hidden, COMPACT, None)
    return found
