"""The list that holds a tower's blocks, so that some can be left out."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from torch import nn

from penjing.models.tower import Tower


@dataclass(frozen=True, eq=False, slots=True)
class BlockChain:
    """One list of blocks: its path in the network, the module it hangs on, the blocks themselves in order."""

    path: str
    parent: nn.Module
    attribute: str
    blocks: tuple[nn.Module, ...]

    def keep(self, places: Sequence[int]) -> None:
        """Leave only these blocks, in this order; where they know their own number, they are numbered anew."""
        for path, key in self._own_numbers():
            for place, old in enumerate(places):
                setattr(self.blocks[old].get_submodule(path), key, place)
        setattr(self.parent, self.attribute, nn.ModuleList(self.blocks[place] for place in places))

    def _own_numbers(self) -> list[tuple[str, str]]:
        """Attributes that are 0 in the first block, 1 in the second, and so on: a cache is kept by them."""
        found = []
        for path, module in self.blocks[0].named_modules():
            for key, value in vars(module).items():
                if type(value) is int and all(
                    getattr(_below(block, path), key, None) == place for place, block in enumerate(self.blocks)
                ):
                    found.append((path, key))
        return found if len(self.blocks) > 1 else []

    @contextmanager
    def without(self, places: Collection[int]) -> Iterator[None]:
        """Leave some blocks out while this is open."""
        whole = getattr(self.parent, self.attribute)
        left = [block for place, block in enumerate(self.blocks) if place not in places]
        setattr(self.parent, self.attribute, nn.ModuleList(left))
        try:
            yield
        finally:
            setattr(self.parent, self.attribute, whole)

    def place_of(self, name: str) -> int | None:
        """Which block a site or a parameter belongs to, by its name; None outside the list."""
        number = name.removeprefix(f"{self.path}.").partition(".")[0]
        return int(number) if name.startswith(f"{self.path}.") and number.isdigit() else None


def _below(block: nn.Module, path: str) -> nn.Module | None:
    return dict(block.named_modules()).get(path)


def chain_of(net: nn.Module, tower: Tower) -> BlockChain | None:
    """The one list that holds exactly a tower's blocks; None where they are spread over several."""
    for path, module in net.named_modules():
        if isinstance(module, nn.ModuleList) and [*module] == [*tower.blocks] and len(module):
            parent, _, attribute = path.rpartition(".")
            return BlockChain(path, net.get_submodule(parent), attribute, tower.blocks)
    return None
