"""Who feeds whom inside a tower: norms whose output only linear sites read, so that a scale can move between them.

Learned from a real run and then proven on the network itself, so no model is known here.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from penjing.models.attempt import attempt
from penjing.models.family import Model
from penjing.models.outputs import flat_output
from penjing.models.tower import Batch, Site, Tower
from penjing.tensor.grid import relative_error

SAME = 1e-3
"""Relative difference of outputs that float32 rounding explains; a scale in the wrong place makes about 1."""


@dataclass(frozen=True, eq=False, slots=True)
class Feed:
    """A norm with a weight per channel, and the linear sites that read its output."""

    norm: nn.Module
    sites: tuple[Site, ...]

    @property
    def values(self) -> list[Tensor]:
        """The tensors that `fold` changes."""
        norm = [getattr(self.norm, name, None) for name in ("weight", "bias")]
        return [value for value in (*norm, *(site.weight for site in self.sites)) if isinstance(value, Tensor)]

    @torch.no_grad()
    def fold(self, scale: Tensor) -> None:
        """Divide channel j of the norm's output by `scale[j]` and multiply the sites' inputs by it: scale (in,)."""
        for name in ("weight", "bias"):
            values = getattr(self.norm, name, None)
            if isinstance(values, Tensor):
                values.div_(scale)
        for site in self.sites:
            site.weight.mul_(scale)


@torch.no_grad()
def feeds(model: Model, tower: Tower, batch: Batch) -> list[Feed]:
    """The feeds of a tower, in order of execution.

    A candidate that changes what any tower answers when a scale moves through it is dropped: something else reads that
    norm too, or it does not end in a product with its weight (Gemma multiplies by 1 + weight).
    """
    found = _candidates(tower, batch)
    before = _answers(model, tower, batch) if found else {}
    if _preserved(found, batch, before):
        return found
    return [one for one in found if _preserved([one], batch, before)]


def _candidates(tower: Tower, batch: Batch) -> list[Feed]:
    """Norms whose output tensor is the very input of linear sites."""
    given: list[tuple[nn.Module, Tensor]] = []
    fed: dict[int, list[Site]] = {}

    def enter(site: Site, values: Tensor) -> None:
        for norm, output in reversed(given):
            if output.data_ptr() == values.data_ptr() and output.numel() == values.numel():
                fed.setdefault(id(norm), []).append(site)
                return

    with contextlib.ExitStack() as hooks:
        for norm in _norms(tower.blocks):
            hook = norm.register_forward_hook(lambda module, args, output: given.append((module, output)))
            hooks.callback(hook.remove)
        for site in tower.sites.values():
            if site.kind == "linear" and isinstance(site.module.weight, nn.Parameter):
                hook = site.module.register_forward_pre_hook(lambda module, args, site=site: enter(site, args[0]))
                hooks.callback(hook.remove)
        tower.run(batch)
    order = {id(norm): norm for norm, _ in given}
    return [Feed(norm, tuple(dict.fromkeys(fed[key]))) for key, norm in order.items() if _may_fold(fed.get(key, []))]


def _norms(blocks: Sequence[nn.Module]) -> Iterator[nn.Module]:
    """Modules that hold nothing but a weight, or a weight and a bias, per channel.

    Those outside the blocks are left alone: what they give is the tower's output, to whoever asks for it.
    """
    for module in (module for block in blocks for module in block.modules()):
        own = dict(module.named_parameters(recurse=False))
        if own.keys() in ({"weight"}, {"weight", "bias"}) and all(value.ndim == 1 for value in own.values()):
            yield module


def _may_fold(sites: Sequence[Site]) -> bool:
    return bool(sites) and not any(site.tied for site in sites)


def _preserved(found: Sequence[Feed], batch: Batch, before: Mapping[Tower, Tensor]) -> bool:
    """Whether all towers answer as before when scales between a half and two move through these feeds."""
    if not found:
        return True
    source = torch.Generator().manual_seed(0)
    kept = [(values, values.clone()) for one in found for values in one.values]
    try:
        for one in found:
            width = one.sites[0].weight.shape[1]
            one.fold(torch.exp2(2 * torch.rand(width, generator=source) - 1))
        return all(relative_error(wanted, flat_output(tower.run(batch))) < SAME for tower, wanted in before.items())
    finally:
        for values, saved in kept:
            values.copy_(saved)


def _answers(model: Model, tower: Tower, batch: Batch) -> dict[Tower, Tensor]:
    """What this tower answers, and every other that the batch can feed: text alone says nothing to an image tower."""
    found = {tower: flat_output(tower.run(batch))}
    for other in model.towers:
        if other.blocks and other is not tower:
            output = attempt(model, f"tower {other.name}", other.run, batch)
            if output is not None:
                found[other] = flat_output(output)
    return found
