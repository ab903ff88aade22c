"""Dynamic int8: int8 products without calibration data, by ranges that activations have while the model runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

import torch

from penjing.layers.bitmap import stored_bytes
from penjing.methods.base import Aids, Method, method
from penjing.methods.placing import DYNAMIC, int8_layer, why_no_int8_activations, why_not_int8
from penjing.models.tower import Batch, Role, Site, Tower
from penjing.values import Note


@method("dynamic_int8")
class DynamicInt8(Method):
    """Weights int8 per output channel, inputs int8 by the largest value of each token: y = max|x| · Q(x / max|x|) Ŵᵀ.

    In a recipe: `{method: dynamic_int8, towers: [encoder]}`.
    It needs no data; where there is some, `static_int8` spares the range of every token and is faster. After an 8-bit
    `rtn` step the codes are kept and inputs have 7 bits. An input of a convolution has one range for the whole item.
    """

    roles: ClassVar[tuple[Role, ...]] = ("encoder", "connector")

    def fits(self, site: Site) -> bool:
        """Layers that multiply."""
        return site.kind in ("linear", "conv")

    def conflict(self, earlier: Method) -> str:
        """No engine multiplies int8 activations by 2-, 3- or 4-bit codes, by codes in groups or with zero points."""
        return why_no_int8_activations(earlier)

    @torch.no_grad()
    def apply(self, target: Tower, batches: Sequence[Batch], aids: Aids) -> Iterator[Note]:
        """Replace each site that is no other's too; a note's error is that of the weights."""
        for site in self.chosen(target):
            reason = why_not_int8(site)
            if reason:
                yield Note(site.name, self.name, target.name, 32.0, skipped=reason)
                continue
            layer, error = int8_layer(site, self.name, DYNAMIC)
            site.replace(layer)
            size_bytes = stored_bytes(layer)
            bits = 8.0 * size_bytes / layer.codes.numel()
            yield Note(site.name, self.name, target.name, bits, error, size_bytes=size_bytes)
