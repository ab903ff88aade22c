"""tokens: an encoder whose blocks merge tokens that say the same works on fewer and fewer of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

import torch
from pydantic import Field, model_validator
from torch import nn

from penjing.calibrate.tokens import Row, names_of, token_row
from penjing.layers.merging import Matching, Merging, MergingBlock
from penjing.methods.base import Aids, Method, method
from penjing.models.family import Model
from penjing.models.tower import Batch, Role, Site, Tower
from penjing.values import FLOAT_BITS, Note


@method("tokens")
class Tokens(Method):
    """Merge the most similar tokens before every block, and give all of them back behind the last one.

    In a recipe: `{method: tokens, towers: [image], r: 8}`, or where the number of tokens varies with the input
    `{method: tokens, towers: [encoder], ratio: 0.1, match: local}`. After ToMe (arXiv:2210.09461), which merges between
    attention and feed-forward; before the block spares the attention, too, and needs to know nothing of what is in it.
    Weights stay where they are: any other step may come before or after.
    """

    roles: ClassVar[tuple[Role, ...]] = ("encoder",)
    changes_weights: ClassVar[bool] = False
    restructures: ClassVar[bool] = True

    r: int = Field(0, ge=0, description="tokens that merge before each block, where their number is fixed")
    ratio: float = Field(0.0, ge=0, le=0.5, description="share of the tokens that merges before each block, instead")
    first: int = Field(0, ge=0, description="number of the first block that merges, from 0")
    last: int | None = Field(
        None, ge=0, description="number of the last block that merges; the tower's last if left away"
    )
    proportional: bool = Field(True, description="let attention weigh a token by how many it stands for")
    match: Matching = Field("global", description="global: any two tokens merge; local: neighbours only, for sound")

    @model_validator(mode="after")
    def _one_of_two(self) -> Tokens:
        if bool(self.r) == bool(self.ratio):
            raise ValueError("give r or ratio, one of the two")
        return self

    @property
    def leaves_codes(self) -> bool:
        """No: weights stay what they are."""
        return False

    def fits(self, site: Site) -> bool:
        """No site: weights are left alone."""
        return False

    def misfit(self, tower: Tower, model: Model) -> str:
        """Towers whose blocks see no row of tokens, have too few of them, or merge them already."""
        if any(isinstance(block, MergingBlock) for block in tower.blocks):
            return "its tokens merge already"
        row = token_row(tower, model.family.probe(model.net, 0))
        return row if isinstance(row, str) else self._too_much(tower, row)

    def _too_much(self, tower: Tower, row: Row) -> str:
        depth = len(tower.blocks)
        if self.first >= depth or (self.last is not None and not self.first <= self.last < depth):
            return f"its {depth} blocks have the numbers 0 to {depth - 1}"
        left = row.tokens
        for place, merging in enumerate(self._mergings(depth, row)):
            if merging.of(left) > (left - row.protected) // 2:
                return f"block {place} sees {left} tokens, {row.protected} of them protected: {self.r} cannot merge"
            left -= merging.of(left)
        return ""

    def _mergings(self, depth: int, row: Row) -> list[Merging]:
        """What each block does, from the first that merges on."""
        last = depth - 1 if self.last is None else self.last
        return [
            Merging(
                self.r if self.first <= place <= last else 0,
                self.ratio if self.first <= place <= last else 0.0,
                self.match,
                row.protected,
                self.proportional,
                place == depth - 1,
            )
            for place in range(depth)
        ]

    @torch.no_grad()
    def apply(self, target: Tower, batches: Sequence[Batch], aids: Aids) -> Iterator[Note]:
        """Put a merging before every block from the first on; a note for each block that merges."""
        reason = self.misfit(target, aids.model)
        probe = aids.model.family.probe(aids.model.net, 0)
        row = token_row(target, probe)
        if reason or isinstance(row, str):
            yield Note(target.name, self.name, target.name, FLOAT_BITS, skipped=reason)
            return
        net = aids.model.net
        names = names_of(net, target.blocks)
        mergings = self._mergings(len(target.blocks), row)
        left = row.tokens
        for block, merging in [*zip(target.blocks, mergings, strict=True)][self.first :]:
            place_block(net, names[block], MergingBlock(block, merging))
            gone = merging.of(left)
            if gone:
                change = f"{left} → {left - gone} tokens" if self.r else f"{self.ratio:.0%} fewer tokens"
                yield Note(names[block], self.name, target.name, FLOAT_BITS, change=change)
            left -= gone


def place_block(net: nn.Module, name: str, block: nn.Module) -> None:
    """Put a block where another one is."""
    parent, _, attribute = name.rpartition(".")
    setattr(net.get_submodule(parent), attribute, block)
