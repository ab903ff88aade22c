"""Fewer layers: those that change least of what a tower, or the whole model, says are dropped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from penjing.calibrate.proxy import Proxy
from penjing.errors import RecipeError
from penjing.methods.base import Aids, Method, method
from penjing.models.expressible import Change, express
from penjing.models.family import Model
from penjing.models.stack import Stack, stack_of
from penjing.models.tower import Batch, Role, Tower
from penjing.values import Note

UNSTACKED = "its blocks are not one list whose length a setting says"


@method("depth")
class Depth(Method):
    """Drop whole layers of a tower; the rest is linked again, and the configuration says how many there are.

    In a recipe: `{method: depth, drop: 1, towers: [image]}`. Layers go one after the other. By `proxy` the one goes
    without which the model says most nearly what it said, across its modalities, on the select data; by `influence` the
    one that turns its input least, 1 − cos(input, output) on average over tokens (ShortGPT, arXiv:2403.03853, eq. 1).
    Layers that stay are numbered anew: in the report the last numbers are the ones that are gone.
    """

    roles: ClassVar[tuple[Role, ...]] = ("encoder", "decoder", "connector")
    needs_data: ClassVar[bool] = True
    restructures: ClassVar[bool] = True

    drop: int = Field(1, ge=1, description="layers of each tower that go")
    by: Literal["proxy", "influence"] = Field("proxy", description="what the layers that go are chosen by")

    @property
    def leaves_codes(self) -> bool:
        """No: what stays are floats."""
        return False

    def refuse(self, model: Model, targets: Sequence[Tower]) -> None:
        """Refuse to drop all layers of a tower."""
        for tower in (tower for tower in targets if len(tower.blocks) <= self.drop):
            if tower.blocks:
                raise RecipeError(
                    f"tower {tower.name}: depth would drop {self.drop} of its {len(tower.blocks)} layers",
                    hint="leave at least one, or name the towers that have more",
                )

    @torch.no_grad()
    def apply(self, target: Tower, batches: Sequence[Batch], aids: Aids) -> Iterator[Note]:
        """Drop layers of one tower; a note for every site of those that are gone."""
        self.require(batches)
        stack = stack_of(aids.model.net, target)
        if stack is None:
            for site in self.chosen(target):
                yield Note(site.name, self.name, target.name, 32.0, skipped=UNSTACKED)
            return
        gone = self._chosen_layers(stack, target, batches, aids)
        stays = tuple(place for place in range(stack.count) if place not in gone)
        last = [
            (tower.name, name)
            for tower in aids.model.towers
            for name in tower.sites
            if (stack.place_of(name) or 0) >= len(stays)
        ]
        stack.keep(stays)
        express(aids.model.net, [Change(stack.count, len(stays), stays)])
        what = f"gone: {', '.join(map(str, gone))} of {stack.count} layers dropped"
        for owner, name in last:
            yield Note(name, self.name, owner, 32.0, change=what)

    def _chosen_layers(self, stack: Stack, target: Tower, batches: Sequence[Batch], aids: Aids) -> list[int]:
        """The layers that go, by their places in the source."""
        if self.by == "influence":
            influence = block_influence(target, batches)
            return sorted(influence.argsort(stable=True)[: self.drop].tolist())
        proxy = Proxy(aids.model, aids.select or batches)
        gone: list[int] = []
        for turn in range(self.drop):
            left = [place for place in range(len(target.blocks)) if place not in gone]
            losses = []
            for done, place in enumerate(left):
                aids.tell(f"drop layers of {target.name}", turn * len(left) + done, self.drop * len(left))
                with stack.without({*gone, place}):
                    losses.append(proxy.lost())
            gone.append(left[min(range(len(left)), key=losses.__getitem__)])
        return sorted(gone)


def block_influence(tower: Tower, batches: Sequence[Batch]) -> Tensor:
    """How far each block turns its input: 1 − cos(input, output), mean over tokens and batches (blocks,)."""
    sums = torch.zeros(len(tower.blocks))

    def see(place: int, before: Tensor, output: object) -> None:
        after = output if isinstance(output, Tensor) else next(iter(output))  # type: ignore[call-overload]
        sums[place] += (1 - torch.cosine_similarity(before, after, -1)).mean() / len(batches)

    hooks = [
        block.register_forward_hook(lambda module, args, output, place=place: see(place, args[0], output))
        for place, block in enumerate(tower.blocks)
    ]
    try:
        for batch in batches:
            tower.run(batch)
    finally:
        for hook in hooks:
            hook.remove()
    return sums
