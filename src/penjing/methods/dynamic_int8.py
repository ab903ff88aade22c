"""Dynamic int8: int8 products without calibration data, by ranges that activations have while the model runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

import torch
from pydantic import Field
from torch import nn

from penjing.layers.dynamic import DynamicConv, DynamicLinear
from penjing.methods.base import Aids, Method, RoundsActivations, method
from penjing.methods.placing import DYNAMIC, int8_layer, why_no_int8_activations, why_not_int8
from penjing.methods.sensitivity import MOST_VALIDATED, Swap, restore_sensitive, swap_notes
from penjing.models.outputs import flat_output
from penjing.models.tower import Batch, Role, Site, Tower
from penjing.values import Note


@method("dynamic_int8")
class DynamicInt8(RoundsActivations):
    """Weights int8 per output channel, inputs int8 by the largest value of each token: y = max|x| · Q(x / max|x|) Ŵᵀ.

    In a recipe: `{method: dynamic_int8, towers: [encoder]}`.
    It needs no data; where there is some, the sites that the tower's output is most sensitive to stay float until
    `max_error` is met, and `static_int8` spares the range of every token and is faster. After an 8-bit `rtn` step the
    codes are kept and inputs have 7 bits. An input of a convolution has one range for the whole item, which fits images
    and loses the quiet frames of a recording: convolutions over time stay float.
    """

    roles: ClassVar[tuple[Role, ...]] = ("encoder", "connector")

    max_error: float = Field(
        0.05, gt=0, description="relative error of the tower's output that is accepted, validation data; unused without"
    )

    def fits(self, site: Site) -> bool:
        """Layers that multiply."""
        return site.kind in ("linear", "conv")

    def conflict(self, earlier: Method) -> str:
        """No engine multiplies int8 activations by 2-, 3- or 4-bit codes, by codes in groups or with zero points."""
        return why_no_int8_activations(earlier)

    @torch.no_grad()
    def apply(self, target: Tower, batches: Sequence[Batch], aids: Aids) -> Iterator[Note]:
        """Replace every site that no other shares, then restore the most sensitive; errors are those of the weights."""
        validation = (list(aids.select) or list(batches))[:MOST_VALIDATED]
        references = [flat_output(target.run(batch)) for batch in validation]
        swaps: dict[str, Swap] = {}
        for site in self.chosen(target):
            reason = _why_not(site)
            if reason:
                yield Note(site.name, self.name, target.name, 32.0, skipped=reason)
                continue
            layer, error = int8_layer(site, self.name, DYNAMIC)
            swaps[site.name] = Swap(site, site.module, layer, error)
            site.replace(layer)
        floats, error = set[str](), 0.0
        if validation and swaps:
            _round_inputs(swaps, True)
            floats, error = restore_sensitive(target, swaps, (validation, references), self.max_error, aids.tell)
            _round_inputs(swaps, False)
        yield from swap_notes(self.name, target.name, swaps, floats, error)


def _round_inputs(swaps: Mapping[str, Swap], rounds: bool) -> None:
    for swap in swaps.values():
        assert isinstance(swap.layer, (DynamicLinear, DynamicConv))
        swap.layer.rounds = rounds


def _why_not(site: Site) -> str:
    if isinstance(site.module, nn.Conv1d):
        return "one range for all frames of a recording would lose the quiet ones"
    return why_not_int8(site)
