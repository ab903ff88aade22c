"""Learned rounding: up or down is decided by what the block's output loses, a few hundred steps of signed gradients."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from penjing.calibrate.call import Call
from penjing.calibrate.stats import Range
from penjing.calibrate.walk import Stretch, walk
from penjing.methods.base import Aids, method, not_finite
from penjing.methods.placing import Coded, Grid, code_site, why_not_coded
from penjing.models.tower import Batch, Role, Site, Tower
from penjing.tensor.grid import Codes, fit_grid, to_groups
from penjing.tensor.rounding import NARROWEST, WIDEST, learned_codes, learned_weights, signed_step
from penjing.values import Note


class _Learner(nn.Module):
    """Stands for a linear layer while its rounding is learned."""

    def __init__(self, site: Site, grid: Grid) -> None:
        super().__init__()
        bits, group, symmetric = grid
        weight = site.weight.detach()
        self.rows, self.width = weight.shape
        self.top = 2**bits - 1
        self.groups = to_groups(weight.float(), group)
        self.scales, self.zeros = fit_grid(weight, bits, group, symmetric=symmetric)
        self.bias = None if site.bias is None else site.bias.detach()
        self.offsets = nn.Parameter(torch.zeros_like(self.groups))
        self.factors = nn.Parameter(torch.ones_like(self.scales))

    @property
    def weight(self) -> Tensor:
        """The weights as they stand, (out, in); some models look at the type of a layer's."""
        dense = learned_weights(self.groups, self.scales * self.factors, self.zeros, self.offsets, self.top)
        return dense.flatten(1)[:, : self.width]

    def forward(self, values: Tensor) -> Tensor:
        return nn.functional.linear(values, self.weight, self.bias)

    @torch.no_grad()
    def codes(self) -> Codes:
        """What was learned."""
        scales = (self.scales * self.factors).detach()
        found = learned_codes(self.groups, scales, self.zeros, self.offsets, self.top)
        return Codes(found.to(torch.uint8), scales, self.zeros)


@method("autoround")
class AutoRound(Coded):
    """Learn for each weight whether it is rounded up or down, and for each group its scale (arXiv:2309.05516).

    In a recipe: `{method: autoround, bits: 3, group: 64, towers: [decoder]}`. Block after block, against what the float
    block gives on the same inputs; the best step is kept, so no block ends worse than rounded to nearest. It takes
    `steps` times `items` forward and backward runs of every block: minutes where `gptq` takes seconds.
    """

    roles: ClassVar[tuple[Role, ...]] = ("encoder", "decoder", "connector")
    needs_data: ClassVar[bool] = True

    steps: int = Field(200, ge=1, le=10_000, description="steps per block")
    items: int = Field(4, ge=1, le=1024, description="calibration items that a step learns from")

    def runs(self, items: int) -> float:
        """Every block forward and backward for each item of each step, and forward on all items at every tenth."""
        return 3.0 * self.steps * min(self.items, items) + 14.0 * items

    def apply(self, target: Tower, batches: Sequence[Batch], aids: Aids) -> Iterator[Note]:
        """Learn the sites of one block after the other; those outside the blocks are rounded to nearest."""
        self.require(batches)
        chosen = {site.name: site for site in self.chosen(target)}
        dice = torch.Generator().manual_seed(aids.seed)
        done = 0
        with torch.no_grad():
            for stretch, calls, stats in walk(target, batches, Range, chosen):
                sites = []
                for name in (name for name in stretch.sites if name in chosen):
                    reason = why_not_coded(chosen[name], self.group) or _unusable(name, stats[name])
                    if reason:
                        yield Note(name, self.name, target.name, 32.0, skipped=reason)
                    else:
                        sites.append(chosen[name])
                for site, learner in zip(sites, self._learn(stretch, calls, sites, dice), strict=True):
                    yield code_site(site, learner.codes(), self.grid, self.name, target.name)
                done += 1
                aids.tell(f"learn {target.name}", done, max(done, len(target.blocks)))

    def _learn(
        self, stretch: Stretch, calls: Sequence[Call], sites: Sequence[Site], dice: torch.Generator
    ) -> list[_Learner]:
        """Learners of the sites after the best step; the sites hold their float modules again."""
        originals = [site.module for site in sites]
        learners = [_Learner(site, self.grid) for site in sites]
        if stretch.outside or not sites:
            return learners
        wanted = [_first(call.on(stretch.module)) for call in calls]
        for site, learner in zip(sites, learners, strict=True):
            site.replace(learner)
        try:
            self._take_steps(stretch.module, calls, wanted, learners, dice)
        finally:
            for site, module in zip(sites, originals, strict=True):
                site.replace(module)
        return learners

    def _take_steps(
        self,
        block: nn.Module,
        calls: Sequence[Call],
        wanted: Sequence[Tensor],
        learners: Sequence[_Learner],
        dice: torch.Generator,
    ) -> None:
        """Follow signed gradients; of every tenth of the way the best is kept, the beginning among them."""
        learned = [value for learner in learners for value in (learner.offsets, learner.factors)]
        best, kept = _loss_of_all(block, calls, wanted), [value.detach().clone() for value in learned]
        every = max(1, self.steps // 10)
        for step in range(self.steps):
            rate = (1 - step / self.steps) / self.steps
            for place in torch.randint(0, len(calls), (min(self.items, len(calls)),), generator=dice).tolist():
                with torch.enable_grad():
                    _loss(block, calls[place], wanted[place]).backward()  # type: ignore[no-untyped-call]
            for learner in learners:
                signed_step(learner.offsets, rate, -0.5, 0.5)
                signed_step(learner.factors, rate, NARROWEST, WIDEST)
            if (step + 1) % every == 0:
                loss = _loss_of_all(block, calls, wanted)
                if loss < best:
                    best, kept = loss, [value.detach().clone() for value in learned]
        for value, saved in zip(learned, kept, strict=True):
            value.copy_(saved)


def _loss(block: nn.Module, call: Call, wanted: Tensor) -> Tensor:
    """Mean squared difference of a block's output, relative to how large it is."""
    copied = call.copy()
    found = _first(block(*copied.args, **copied.kwargs))
    return (found - wanted).square().mean() / wanted.square().mean().clamp_min(1e-12)


def _loss_of_all(block: nn.Module, calls: Sequence[Call], wanted: Sequence[Tensor]) -> float:
    return sum(float(_loss(block, call, want)) for call, want in zip(calls, wanted, strict=True))


def _first(output: Any) -> Tensor:
    """The hidden states among what a block gives."""
    found: Tensor = output[0] if isinstance(output, (tuple, list)) else output
    return found


def _unusable(name: str, seen: object) -> str:
    assert isinstance(seen, Range)
    if not seen.finite:
        raise not_finite(name, seen.bad_item)
    return "" if seen.calls else "never reached by the calibration data"
