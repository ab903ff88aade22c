"""How much the task feels each unit of channels: the derivative by a gate that is open on every one of them.

A gate multiplies a unit by 1; what the task's likelihood changes by when it closes is, to first order, the derivative
by it (Michel et al. 2019, arXiv:1905.10650, section 4; Molchanov et al. 2019, arXiv:1906.10771, for any channel).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from penjing.calibrate.proxy import MOST_ITEMS, Labels, chunks, spread, verdicts
from penjing.models.family import Model
from penjing.models.inner import channel_axis
from penjing.models.tower import Batch, Site
from penjing.values import Tell


class Gated(Protocol):
    """Units of channels that some sites read: `readers` are they, with the unit of each input channel."""

    @property
    def count(self) -> int:
        """How many units there are."""

    @property
    def readers(self) -> Sequence[tuple[Site, Tensor]]:
        """The sites that read them."""


def felt(
    model: Model, inner: Mapping[str, Gated], batches: Sequence[Batch], labels: Labels, tell: Tell
) -> dict[str, Tensor]:
    """Mean squared derivative by each gate, (units,) for each of the inner channels, by name.

    `labels` says whose likelihood: of what the data hold right (Taylor), or of what the model itself says across its
    modalities (the Fisher information of its matches and its words).
    """
    source = torch.Generator().manual_seed(0)
    found = {name: torch.zeros(one.count) for name, one in inner.items()}
    parts = [*chunks(spread(batches, 2 * MOST_ITEMS))]
    for done, chunk in enumerate(parts):
        tell("feel", done, len(parts))
        with gates(inner) as opened, torch.enable_grad():
            said = verdicts(model, chunk)
            for place, verdict in enumerate(said):
                if not verdict.logits.requires_grad:
                    continue
                likelihood = verdict.likelihood(labels, source)
                last = place == len(said) - 1
                gradients = torch.autograd.grad(
                    likelihood, [*opened.values()], retain_graph=not last, allow_unused=True
                )
                for name, gradient in zip(opened, gradients, strict=True):
                    if gradient is not None:
                        found[name] += gradient.square() / len(said)
    return found


@contextlib.contextmanager
def gates(inner: Mapping[str, Gated]) -> Iterator[dict[str, Tensor]]:
    """Multiply each unit's channels by a gate while this is open; the gates, ones (units,), by name."""
    opened = {name: torch.ones(one.count, requires_grad=True) for name, one in inner.items()}

    with contextlib.ExitStack() as hooks:
        for name, one in inner.items():
            for site, units in one.readers:
                passed = partial(_through, opened[name], units)
                hooks.callback(site.module.register_forward_pre_hook(passed).remove)
        yield opened


def _through(gate: Tensor, units: Tensor, module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """The arguments of a layer whose input channels each passed the gate of their unit: units (in,)."""
    shape = [1] * args[0].dim()
    shape[channel_axis(module, args[0])] = -1
    return (args[0] * gate[units].view(shape), *args[1:])
