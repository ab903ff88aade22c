"""Low rank: two thin products in the place of one, where that loses little and is faster."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import ClassVar, Self

import torch
from pydantic import Field, model_validator

from penjing.calibrate.gram import Gram, Products
from penjing.calibrate.walk import each_site
from penjing.layers.described import DescribedLayer
from penjing.layers.lowrank import LowRankLinear
from penjing.methods.base import Aids, Method, method, not_finite, timing_engine
from penjing.methods.stopwatch import thin_ratio
from penjing.models.tower import Batch, Role, Site, Tower
from penjing.runtimes.engine import Engine
from penjing.tensor.brain import output_error
from penjing.tensor.lowrank import Spectrum, factors, rank_of_energy, rank_of_share, saves, spectrum
from penjing.values import Note


@method("lowrank")
class LowRank(Method):
    """Cut linear layers into two thin ones that lose least of what calibration data makes of them (arXiv:2403.07378).

    In a recipe: `{method: lowrank, energy: 0.98, towers: [encoder]}`. Say one of three: how much `energy` of a layer's
    outputs must stay, what `ratio` of its parameters may, or a `rank`. Blocks are settled in order, and each is fed by
    what the cut ones before it give. Both thin layers are plain ones: later steps quantize them. A layer whose two
    products would hold more numbers than it does, or take longer in the engine, stays whole.
    """

    roles: ClassVar[tuple[Role, ...]] = ("encoder", "decoder", "connector")
    needs_data: ClassVar[bool] = True
    restructures: ClassVar[bool] = True

    energy: float | None = Field(None, gt=0, le=1, description="share of a layer's output energy to keep (0.98)")
    ratio: float | None = Field(None, gt=0, lt=1, description="share of a layer's parameters to keep")
    rank: int | None = Field(None, ge=1, description="rank of every layer")
    multiple: int = Field(32, ge=1, le=256, description="ranks are multiples of it: later steps round in such groups")
    whitened: bool = Field(True, description="weigh errors by what layers read; false cuts weights alone")
    even: bool = Field(True, description="let every token count alike, however large; a few huge ones hide the others")
    damping: float = Field(1e-3, gt=0, lt=1, description="share of the mean energy added to every input's")
    measured: bool = Field(True, description="keep a layer whole where two products take longer in the engine")

    @model_validator(mode="after")
    def _one_measure(self) -> Self:
        if sum(value is not None for value in (self.energy, self.ratio, self.rank)) > 1:
            raise ValueError("give one of energy, ratio and rank")
        return self

    @property
    def leaves_codes(self) -> bool:
        """Both thin layers hold floats."""
        return False

    def fits(self, site: Site) -> bool:
        """Layers that multiply by a matrix."""
        return site.kind == "linear"

    @torch.no_grad()
    def apply(self, target: Tower, batches: Sequence[Batch], aids: Aids) -> Iterator[Note]:
        """Cut the sites of one block after the other."""
        self.require(batches)
        chosen = {site.name: site for site in self.chosen(target)}
        for site, seen in each_site(target, batches, Products(even=self.even).gram, chosen, aids.tell):
            assert isinstance(seen, Gram)
            # A decoder reads one token at a time, whatever it was calibrated with.
            tokens = 1 if target.role == "decoder" else max(1, round(seen.tokens / len(batches)))
            yield self._cut(site, seen, tokens, target.name, aids)

    def _cut(self, site: Site, seen: Gram, tokens: int, tower: str, aids: Aids) -> Note:
        gram = seen.values
        reason = _why_not(site, gram is not None)
        if reason or gram is None:
            return Note(site.name, self.name, tower, 32.0, skipped=reason)
        if not seen.finite:
            raise not_finite(site.name, seen.bad_item)
        weight = site.weight.detach()
        out, width = weight.shape
        gram = gram / seen.tokens
        found = spectrum(weight, gram if self.whitened else None, self.damping)
        rank = self._rank(found, out, width)
        reason = self._not_worth(out, width, rank, tokens, aids)
        if reason:
            return Note(site.name, self.name, tower, 32.0, skipped=reason)
        layer = LowRankLinear.of(*factors(weight, found, rank), site.bias)
        error = output_error(weight, layer.weight, gram)
        site.replace(layer)
        size_bytes = 4 * rank * (out + width)
        change = f"{out} × {width} → rank {rank}"
        return Note(
            site.name, self.name, tower, 8 * size_bytes / (out * width), error, size_bytes=size_bytes, change=change
        )

    def _rank(self, found: Spectrum, out: int, width: int) -> int:
        """The rank asked for in whole multiples: at least that much energy, at most that many parameters."""
        if self.ratio is not None:
            rank = rank_of_share(out, width, self.ratio) // self.multiple * self.multiple
        else:
            wanted = self.rank or rank_of_energy(found.values, 0.98 if self.energy is None else self.energy)
            rank = math.ceil(wanted / self.multiple) * self.multiple
        return min(max(rank, self.multiple), out, width)

    def inputs_key(self, engine: Engine | None) -> str:
        """The engine and its threads, where they decide which layers stay whole."""
        timed = timing_engine(engine)
        return f"{timed.name} {timed.threads} threads" if self.measured else ""

    def _not_worth(self, out: int, width: int, rank: int, tokens: int, aids: Aids) -> str:
        """Why two layers of this rank are no better than the one; empty where they are."""
        if not saves(out, width, rank):
            return f"rank {rank} of {out} × {width} would hold more numbers than the layer does"
        if not self.measured:
            return ""
        engine = aids.timed_by
        taken = thin_ratio((out, width), rank, tokens, engine)
        if taken < 1:
            return ""
        return f"two products of rank {rank} take {taken:.2f} of the time of one of {out} × {width} in {engine.name}"


def _why_not(site: Site, reached: bool) -> str:
    """Why a site cannot be cut at all; empty where it can."""
    if isinstance(site.module, DescribedLayer):
        return f"already {type(site.module).__name__} from an earlier step"
    if site.tied:
        return f"its weights are also read by {site.tied[0].name}"
    return "" if reached else "never reached by the calibration data"
