"""tokens: encoders work on fewer, attention looks at fewer, a decoder reads fewer of a picture: those alike merge."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, ClassVar

import torch
from pydantic import Field, model_validator
from torch import nn

from penjing.artifact.checkpoint import copy_configuration
from penjing.calibrate.call import real_calls
from penjing.calibrate.keys import key_makers
from penjing.calibrate.tokens import Row, names_of, token_row, tokens_read
from penjing.layers.condensing import CondensedConnector, tokens_left
from penjing.layers.merging import Matching, Merging, MergingBlock
from penjing.methods.base import Aids, Method, method
from penjing.models.family import Model
from penjing.models.image_tokens import recount_files, recount_network
from penjing.models.tower import Batch, Role, Site, Tower
from penjing.values import FLOAT_BITS, Note

Share = Annotated[float, Field(ge=0, le=0.5)]
Neighbours = Annotated[int, Field(ge=1, le=8)]
BLOCKWISE = ("first", "last", "proportional", "keys")
WRITTEN = "image-tokens"


@method("tokens")
class Tokens(Method):
    """Merge the most similar tokens before every block, and give all of them back behind the last one.

    In a recipe: `{method: tokens, towers: [image], r: 8}`, or where the number of tokens varies with the input
    `{method: tokens, towers: [encoder], ratio: 0.1, match: local}`. After ToMe (arXiv:2210.09461), which merges between
    attention and feed-forward; before the block spares the attention, too, and needs to know nothing of what is in it.

    `{method: tokens, towers: [connector], keep: 32}` merges, by the same matching, what a decoder is to read of a
    picture, or of each tile, until so many tokens are left: prompts and caches become shorter by the rest, and whatever
    counts image tokens counts these. The decoder reads means and is not told their sizes.

    Weights stay where they are: any other step may come before or after.

    `keys: 2` lets attention look at means of every two neighbours, whether tokens merge or not: half of its products,
    and every token keeps its own path. In a speech encoder's first blocks, before anything may merge, that costs least.
    """

    roles: ClassVar[tuple[Role, ...]] = ("encoder", "connector")
    changes_weights: ClassVar[bool] = False
    restructures: ClassVar[bool] = True

    r: int = Field(0, ge=0, description="tokens that merge before each block, where their number is fixed")
    ratio: Share | tuple[Share, ...] = Field(
        0.0,
        description="share of the tokens that merges before each block, instead; or one for each of the first blocks",
    )
    keep: int | None = Field(None, ge=1, description="tokens of a picture that a decoder reads, behind a connector")
    first: int = Field(0, ge=0, description="number of the first block that merges, from 0")
    last: int | None = Field(
        None, ge=0, description="number of the last block that merges; the tower's last if left away"
    )
    proportional: bool = Field(True, description="let attention weigh a token by how many it stands for")
    match: Matching = Field("global", description="global: any two tokens merge; local: neighbours only, for sound")
    keys: Neighbours | tuple[Neighbours, ...] = Field(
        1, description="attention looks at means of so many neighbours; or one number for each of the first blocks"
    )

    @model_validator(mode="after")
    def _something(self) -> Tokens:
        ratios = self.ratio if isinstance(self.ratio, tuple) else (self.ratio,)
        ways = bool(self.r) + any(ratios) + (self.keep is not None)
        if ways > 1 or not (ways or self._pools):
            raise ValueError("give r, ratio or keep, one of the three; or keys alone")
        for name in BLOCKWISE if self.keep is not None else ():
            if name in self.model_fields_set:
                raise ValueError(f"{name} is of blocks that merge, keep of what a connector gives")
        return self

    @property
    def alters_prompts(self) -> str:
        """Where a decoder reads fewer tokens, prompts have fewer places for them."""
        return "" if self.keep is None else "lets a picture take fewer tokens"

    @property
    def _pools(self) -> bool:
        return max(self.keys if isinstance(self.keys, tuple) else (self.keys,), default=1) > 1

    @property
    def leaves_codes(self) -> bool:
        """No: weights stay what they are."""
        return False

    def fits(self, site: Site) -> bool:
        """No site: weights are left alone."""
        return False

    def misfit(self, tower: Tower, model: Model) -> str:
        """Towers whose blocks see no row of tokens, have too few of them, or merge them already; with `keep`, those
        that give a decoder no tokens of a picture, or no more than that.
        """
        if self.keep is not None:
            return self._none_to_leave_out(tower, model, self.keep)
        if any(isinstance(block, MergingBlock) for block in tower.blocks):
            return "its tokens merge already"
        batch = model.family.probe(model.net, 0)
        row = token_row(tower, batch)
        if isinstance(row, str):
            return row
        return self._too_much(tower, row) or (self._unlooked(tower, row, batch) if self._pools else "")

    def _unlooked(self, tower: Tower, row: Row, batch: Batch) -> str:
        """Why attention cannot look at means of neighbours; empty where it can."""
        if row.protected:
            return f"its first {row.protected} tokens have no neighbours that they could be averaged with"
        mergings = self._mergings(len(tower.blocks), row)
        found = (_makers(tower, *pair, batch) for pair in zip(tower.blocks, mergings, strict=True))
        return next((one for one in found if isinstance(one, str)), "")

    def _none_to_leave_out(self, tower: Tower, model: Model, keep: int) -> str:
        if tokens_left(tower.module) is not None:
            return "its tokens merge already"
        tokens = tokens_read(tower, model.towers, model.family.probe(model.net, 0))
        if isinstance(tokens, str):
            return tokens
        return "" if keep < tokens else f"it gives {tokens} tokens of a picture: to keep {keep} takes none away"

    def folder(self, model: Model, scratch: Path) -> Path:
        """Configuration and processor that count fewer tokens of a picture, where there are fewer."""
        written = scratch / WRITTEN
        return written if self.keep is not None and written.is_dir() else model.folder

    def _too_much(self, tower: Tower, row: Row) -> str:
        depth = len(tower.blocks)
        for name, values in (("ratio", self.ratio), ("keys", self.keys)):
            if isinstance(values, tuple) and len(values) > depth:
                return f"{name} has {len(values)} numbers for its {depth} blocks"
        if self.first >= depth or (self.last is not None and not self.first <= self.last < depth):
            return f"its {depth} blocks have the numbers 0 to {depth - 1}"
        left = row.tokens
        for place, merging in enumerate(self._mergings(depth, row)):
            if merging.of(left) > (left - row.protected) // 2:
                return f"block {place} sees {left} tokens, {row.protected} of them protected: {self.r} cannot merge"
            left -= merging.of(left)
        return ""

    def _mergings(self, depth: int, row: Row) -> list[Merging]:
        """What each block does."""
        last = depth - 1 if self.last is None else self.last
        merges = [self.first <= place <= last for place in range(depth)]
        shares = self.ratio if isinstance(self.ratio, tuple) else [self.ratio * one for one in merges]
        keys = self.keys if isinstance(self.keys, tuple) else [self.keys] * depth
        shares, keys = [*shares, *[0.0] * (depth - len(shares))], [*keys, *[1] * (depth - len(keys))]
        return [
            Merging(
                self.r * merges[place],
                shares[place],
                self.match,
                row.protected,
                self.proportional,
                place == depth - 1,
                keys[place],
            )
            for place in range(depth)
        ]

    @torch.no_grad()
    def apply(self, target: Tower, batches: Sequence[Batch], aids: Aids) -> Iterator[Note]:
        """Put a merging before every block that needs one, or behind a connector; a note for each that gets fewer."""
        reason = self.misfit(target, aids.model)
        if self.keep is not None and not reason:
            yield self._condensed(target, aids, self.keep)
            return
        probe = aids.model.family.probe(aids.model.net, 0)
        row = token_row(target, probe)
        if reason or isinstance(row, str):
            yield Note(target.name, self.name, target.name, FLOAT_BITS, skipped=reason)
            return
        net, depth = aids.model.net, len(target.blocks)
        names = names_of(net, target.blocks)
        mergings = self._mergings(depth, row)
        makers = [_makers(target, *pair, probe) for pair in zip(target.blocks, mergings, strict=True)]
        left, merged = row.tokens, False
        for block, merging, read in zip(target.blocks, mergings, makers, strict=True):
            gone = merging.of(left)
            merged = merged or gone > 0
            if merged or merging.keys > 1:
                put(net, names[block], MergingBlock(block, replace(merging, makers=(*read,))))
            if gone or merging.keys > 1:
                yield Note(names[block], self.name, target.name, FLOAT_BITS, change=_change(merging, left, gone))
            left -= gone

    def _condensed(self, target: Tower, aids: Aids, keep: int) -> Note:
        """Merge what a connector gives, and let everything that counts image tokens count those that stay."""
        model = aids.model
        before = int(tokens_read(target, model.towers, model.family.probe(model.net, 0)))
        name = names_of(model.net, (target.module,))[target.module]
        put(model.net, name, CondensedConnector(target.module, keep, self.match))
        recount_network(model.net, before, keep)
        written = aids.scratch / WRITTEN
        shutil.rmtree(written, ignore_errors=True)
        written.mkdir(parents=True)
        copy_configuration(model.folder, written)
        recount_files(written, before, keep)
        return Note(name, self.name, target.name, FLOAT_BITS, change=f"{before} → {keep} tokens")


def _change(merging: Merging, left: int, gone: int) -> str:
    """What a block does to its tokens, as a person reads it."""
    fewer = f"{left} → {left - gone} tokens" if merging.count else f"{merging.share:.0%} fewer tokens"
    keys = f"attention to means of {merging.keys} tokens" if merging.keys > 1 else ""
    return ", ".join(filter(None, (fewer if gone else "", keys)))


def _makers(tower: Tower, block: nn.Module, merging: Merging, batch: Batch) -> tuple[str, ...] | str:
    """The layers of a block that make its keys and values, where they are to be fewer; or why there are none."""
    if merging.keys == 1:
        return ()
    calls = real_calls(tower, block, batch)
    return key_makers(block, calls[0]) if calls else "its blocks do not all run"


def put(net: nn.Module, name: str, module: nn.Module) -> None:
    """Put a module where another one is."""
    parent, _, attribute = name.rpartition(".")
    setattr(net.get_submodule(parent), attribute, module)
