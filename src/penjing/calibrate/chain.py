"""Feed the blocks of a tower one by one: each gets what the one before makes now, changed as that may be."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from penjing.calibrate.call import Call, Key, real_calls
from penjing.calibrate.wiring import Again, Constant, Own, Source, Wire, Wiring, enter, kinds_of, learn, parts
from penjing.models.tower import Batch, Tower


class Chain:
    """The blocks of a tower on one batch.

    A block that nothing of the block before reaches as it is breaks the chain, and so do blocks that are not called
    once each and in order: what they see is learned from further runs of the whole tower, which is slower.
    """

    def __init__(self, tower: Tower, batch: Batch, wiring: Wiring, entered: Sequence[Call]) -> None:
        self._tower, self._batch, self._wiring, self._entered = tower, batch, wiring, entered
        self._given: list[Any] = []

    def calls(self, place: int) -> list[Call]:
        """What a block is called with, now that the blocks before it are what they are."""
        known = self._wiring.blocks[place]
        if known is None:
            return real_calls(self._tower, self._tower.blocks[place], self._batch)
        found = {key: self._value(place, key, source) for key, source in known.items()}
        args = tuple(value for key, value in found.items() if isinstance(key, int))
        return [Call(args, {key: value for key, value in found.items() if isinstance(key, str)})]

    def advance(self, place: int, calls: list[Call]) -> None:
        """Run a block as the caller left it; what it gives feeds the next one."""
        following = place + 1
        if following < len(self._wiring.blocks) and self._wiring.blocks[following] is not None:
            self._given = parts(calls[0].on(self._tower.blocks[place]))

    def _value(self, place: int, key: Key, source: Source) -> Any:
        match source:
            case Wire(part):
                return self._given[part]
            case Again(block, name):
                return self._entered[block][name]
            case Constant(value):
                return value
            case Own():
                return self._entered[place][key]


def chains(tower: Tower, batches: Sequence[Batch]) -> Iterator[Chain]:
    """A chain for every batch. How blocks hang together is learned once for all batches whose first calls are alike.

    Of a batch that hangs together like one before it only the first blocks are run, as many as are called with
    something of their own: one, in most models.
    """
    learned: list[Wiring] = []
    for batch in batches:
        for wiring in learned:
            entered = enter(tower, batch, wiring.asked) if wiring.asked else []
            if kinds_of(entered) == wiring.kinds:
                break
        else:
            wiring, entered = learn(tower, batch)
            learned.append(wiring)
        yield Chain(tower, batch, wiring, entered)
