"""Which items a step learns from: a function of its number, so that a resumed run sees what an unbroken one would."""

from __future__ import annotations

import random
from collections.abc import Hashable, Sequence


class Draw:
    """Batches of items, every kind of item equally often, however many there are of it.

    `shapes` are two of each item: those of a kind in one batch are of one first shape where there are enough of it, and
    if possible of one second, so that they go through the model together. Which kind comes first changes with the step.
    """

    def __init__(
        self, kinds: Sequence[Hashable], shapes: Sequence[tuple[Hashable, Hashable]], size: int, seed: int
    ) -> None:
        members: dict[Hashable, list[int]] = {}
        for item, kind in enumerate(kinds):
            members.setdefault(kind, []).append(item)
        self._members, self._shapes, self._size, self._seed = [*members.values()], shapes, size, seed
        self._turns: dict[tuple[int, int], list[list[int]]] = {}

    def __call__(self, step: int) -> list[int]:
        """The items of a step, by their numbers."""
        kinds = len(self._members)
        if kinds > self._size:
            turns = range(step * self._size, (step + 1) * self._size)
            return [self._some(turn % kinds, turn // kinds, 1)[0] for turn in turns]
        shares = [self._size * (kind + 1) // kinds - self._size * kind // kinds for kind in range(kinds)]
        parts = [self._some(kind, step, share) for kind, share in enumerate(shares)]
        return [item for part in (*parts[step % kinds :], *parts[: step % kinds]) for item in part]

    def _some(self, kind: int, turn: int, share: int) -> list[int]:
        """So many items of a kind, at its turn."""
        rounds = -(-len(self._members[kind]) // share)
        key = (kind, turn // rounds)
        if key not in self._turns:
            self._turns = {old: parts for old, parts in self._turns.items() if old[0] != kind}
            self._turns[key] = self._parts(kind, turn // rounds, share)
        return self._turns[key][turn % rounds]

    def _parts(self, kind: int, epoch: int, share: int) -> list[list[int]]:
        """All items of a kind in parts of one size, the last filled up from the first, in an order of this epoch."""
        dice = random.Random(f"{self._seed} {kind} {epoch}")
        items = [*self._members[kind]]
        dice.shuffle(items)
        lots: dict[Hashable, float] = {}
        for shape in dict.fromkeys(shape for item in items for shape in self._shapes[item]):
            lots[shape] = dice.random()
        items.sort(key=lambda item: [lots[shape] for shape in self._shapes[item]])
        items += [items[place % len(items)] for place in range(-len(items) % share)]
        parts = [items[first : first + share] for first in range(0, len(items), share)]
        dice.shuffle(parts)
        return parts
