"""Let the layers of a narrower network take over from those of the wide one: each is fitted to what its model gave.

Both are walked through side by side. A layer of the narrow network is fitted on what it sees there, after those before
it were fitted, to what the same layer of the wide one gives: errors do not pile up.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from penjing.calibrate.call import Call
from penjing.calibrate.walk import Statistic, walk
from penjing.models.tower import Batch, Site, Tower
from penjing.tensor.grid import relative_error
from penjing.tensor.importance import refit_to

MOST_TOKENS = 256
"""Tokens of one call that are remembered, evenly spaced."""


class Inputs(Statistic):
    """What a site sees: rows (tokens, in), the same places of every call."""

    def __init__(self) -> None:
        self._rows: list[Tensor] = []

    def see(self, values: Tensor) -> None:
        """Take in one input, (..., in)."""
        rows = values.reshape(-1, values.shape[-1])
        rows = rows[:: -(-len(rows) // MOST_TOKENS)].float().clone()
        self.check(rows.sum())
        self._rows.append(rows)

    @property
    def rows(self) -> Tensor:
        """All of it."""
        return torch.cat(self._rows) if self._rows else torch.zeros(0)


@torch.no_grad()
def fit_to(
    wide: Tower, narrow: Tower, batches: Sequence[Batch], stays: Mapping[str, Tensor]
) -> Iterator[tuple[str, float]]:
    """Fit every linear layer of a narrow tower; yields its name and the relative error that is left.

    `stays` says which outputs of a wide layer the narrow one still has: bool (out,), by name; all where it is silent.
    """
    for (_, _, given), (stretch, calls, seen) in zip(
        walk(wide, batches, Inputs), walk(narrow, batches, Inputs), strict=True
    ):
        for name, site in stretch.sites.items():
            before = given.get(name)
            if site.kind != "linear" or site.tied or not isinstance(before, Inputs):
                continue
            shown = _seen(stretch.module, calls, site) if calls else _rows(seen[name])
            original = wide.sites[name]
            if not len(shown) or len(shown) != len(before.rows):
                continue
            wanted = torch.nn.functional.linear(before.rows, original.weight, original.bias)
            wanted = wanted[:, stays[name]] if name in stays else wanted
            yield name, _fit(site, shown, wanted)


def _fit(site: Site, shown: Tensor, wanted: Tensor) -> float:
    """Fit one layer; the relative error of its outputs."""
    weight, bias = refit_to(site.weight, site.bias, shown, wanted)
    site.weight.copy_(weight)
    if site.bias is not None and bias is not None:
        site.bias.copy_(bias)
    return relative_error(wanted, torch.nn.functional.linear(shown, site.weight, site.bias))


def _rows(statistic: Statistic) -> Tensor:
    assert isinstance(statistic, Inputs)
    return statistic.rows


def _seen(block: nn.Module, calls: Sequence[Call], site: Site) -> Tensor:
    """What a site sees now that those before it in its block were fitted."""
    found = Inputs()
    hook = site.module.register_forward_pre_hook(lambda module, args: found.see(args[0].detach()))
    try:
        for call in calls:
            call.on(block)
    finally:
        hook.remove()
    return found.rows
