"""The list that holds a tower's blocks, and lists that have something for each of them: what goes with a layer."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from torch import nn

from penjing.models.expressible import Change, can_say
from penjing.models.tower import Tower


@dataclass(frozen=True, eq=False, slots=True)
class ModuleRow:
    """One list of modules in a network: its path, the module it hangs on, the modules in order."""

    path: str
    parent: nn.Module
    attribute: str
    modules: tuple[nn.Module, ...]

    def put(self, modules: Sequence[nn.Module]) -> None:
        """Put other modules in the place of the list."""
        setattr(self.parent, self.attribute, nn.ModuleList(modules))


@dataclass(frozen=True, eq=False, slots=True)
class Stack:
    """The blocks of a tower, first, and what other lists hold for each: projections of a memory, for one."""

    rows: tuple[ModuleRow, ...]

    @property
    def count(self) -> int:
        """How many layers there are."""
        return len(self.rows[0].modules)

    def keep(self, places: Sequence[int]) -> None:
        """Leave only these layers, in this order; where they know their own number, they are numbered anew."""
        for path, key in self._own_numbers():
            for place, old in enumerate(places):
                setattr(self.rows[0].modules[old].get_submodule(path), key, place)
        self._put(places)

    @contextmanager
    def without(self, places: Collection[int]) -> Iterator[None]:
        """Leave some layers out while this is open."""
        self._put([place for place in range(self.count) if place not in places])
        try:
            yield
        finally:
            self._put(range(self.count))

    def place_of(self, name: str) -> int | None:
        """Which layer a site or a parameter belongs to, by its name; None outside the lists."""
        for row in self.rows:
            number = name.removeprefix(f"{row.path}.").partition(".")[0]
            if name.startswith(f"{row.path}.") and number.isdigit():
                return int(number)
        return None

    def _put(self, places: Sequence[int]) -> None:
        for row in self.rows:
            row.put([row.modules[place] for place in places])

    def _own_numbers(self) -> list[tuple[str, str]]:
        """Attributes that are 0 in the first block, 1 in the second, and so on: a cache is kept by them."""
        blocks = [dict(block.named_modules()) for block in self.rows[0].modules]
        return [
            (path, key)
            for path, module in (blocks[0].items() if len(blocks) > 1 else ())
            for key, value in vars(module).items()
            if type(value) is int
            and all(getattr(block.get(path), key, None) == place for place, block in enumerate(blocks))
        ]


def stack_of(net: nn.Module, tower: Tower) -> Stack | None:
    """The layers of a tower; None where its blocks are not one list, or no setting says that there are fewer.

    Other lists of as many modules go with it where the configuration makes them of the same number.
    """
    rows = [*_rows(net, len(tower.blocks))]
    blocks = [row for row in rows if row.modules == tower.blocks]
    if not blocks or len(tower.blocks) < 2:
        return None
    beside = [row for row in rows if row not in blocks and not _holds_blocks(row, tower)]
    for stack in (Stack(tuple(blocks[:1])), Stack((*blocks[:1], *beside))):
        if _can_be_fewer(net, stack):
            return _fewest(net, stack)
    return None


def _fewest(net: nn.Module, stack: Stack) -> Stack:
    """Leave lists out that are of as many modules by chance: settings can say the network while they stay whole."""
    for row in stack.rows[1:]:
        rest = Stack(tuple(other for other in stack.rows if other is not row))
        stack = rest if _can_be_fewer(net, rest) else stack
    return stack


def _can_be_fewer(net: nn.Module, stack: Stack) -> bool:
    """Whether settings can say that there is a layer less; of a network without settings, yes."""
    fewer = range(stack.count - 1)
    with stack.without({stack.count - 1}):
        return not hasattr(net, "config") or can_say(net, [Change(stack.count, stack.count - 1, tuple(fewer))])


def _rows(net: nn.Module, count: int) -> Iterator[ModuleRow]:
    """Every list of so many modules."""
    for path, module in net.named_modules():
        if isinstance(module, nn.ModuleList) and len(module) == count:
            parent, _, attribute = path.rpartition(".")
            yield ModuleRow(path, net.get_submodule(parent), attribute, tuple(module))


def _holds_blocks(row: ModuleRow, tower: Tower) -> bool:
    """Whether a list is of layers like the tower's own: another tower's."""
    return any(type(module) is type(block) for module in row.modules for block in tower.blocks)
