"""Magnitude masks: what is small goes, site by site or ranked over the whole model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import torch
from pydantic import Field, ValidationInfo, field_validator
from torch import Tensor

from penjing.methods.base import Aids, method
from penjing.methods.masking import Masking, emptied, why_not_masked
from penjing.models.tower import Batch, Site, Tower
from penjing.tensor.mask import (
    Norm,
    Unit,
    cubic_share,
    gone,
    keep_largest_of_all,
    keep_largest_units,
    keep_n_of_m,
    magnitude_scores,
)
from penjing.values import Note


@method("magnitude")
class Magnitude(Masking):
    """Mask the weights of least magnitude (arXiv:1506.02626). No data; saves bytes in checkpoints, no time.

    In a recipe: `{method: magnitude, share: 0.5, scope: global}`. `scope: site` takes the same share of every site,
    `global` the smallest weights of all towers of the step together, as `global_unstructured` of torch.nn.utils.prune
    does. To mask in several rounds with healing between them, give the step once for every round: after round t of n
    the share is s (1 − (1 − t/n)³) (arXiv:1710.01878). What is masked once stays so.
    """

    scope: Literal["site", "global"] = Field("site", description="what is ranked together: a site's weights, or all")
    norm: Norm = Field("l1", description="mean |w| or mean w² of what goes as one; alike for single weights")
    unit: Unit = Field("weight", description="what goes as one: a weight, a kernel of a convolution, all of an output")
    rounds: int = Field(1, ge=1, le=100, description="rounds in which the share is reached")
    round: int = Field(1, ge=1, description="which of the rounds this step is")

    @field_validator("scope", "unit")
    @classmethod
    def _one_way(cls, value: str, info: ValidationInfo) -> str:
        """Patterns are of single weights and of each row; rows and kernels of other sizes cannot be ranked as one."""
        if value in ("global", "kernel", "row") and info.data.get("pattern"):
            raise ValueError(f"a pattern keeps n of m weights of every output, whatever is {value}")
        if value in ("kernel", "row") and info.data.get("scope") == "global":
            raise ValueError("only single weights are ranked globally")
        return value

    @field_validator("rounds")
    @classmethod
    def _by_share(cls, rounds: int, info: ValidationInfo) -> int:
        """A pattern has one share."""
        if rounds > 1 and info.data.get("pattern"):
            raise ValueError("a pattern is reached in one round")
        return rounds

    @field_validator("round")
    @classmethod
    def _within(cls, turn: int, info: ValidationInfo) -> int:
        """Rounds are counted from 1 to `rounds`."""
        if turn > info.data.get("rounds", turn):
            raise ValueError(f"there are {info.data['rounds']} rounds")
        return turn

    @property
    def lost(self) -> float:
        """The share that is gone after this round."""
        return cubic_share(super().lost, self.round, self.rounds)

    def fits(self, site: Site) -> bool:
        """Layers that multiply; tables of words, and heads tied to them, where `sites` names them."""
        return site.kind in ("linear", "conv") or (site.kind == "embedding" and bool(self.sites))

    def empties(self, site: Site) -> bool:
        """Whether nothing of a site would stay; what ranking all sites together leaves is seen when it is done."""
        units = site.weight.shape[: {"weight": site.weight.dim(), "kernel": 2, "row": 1}[self.unit]].numel()
        return self.scope == "site" and gone(units, self.lost) == units

    @torch.no_grad()
    def apply(self, target: Tower, batches: Sequence[Batch], aids: Aids) -> Iterator[Note]:
        """Mask the sites of one tower."""
        yield from self.apply_all([target], batches, aids)

    @torch.no_grad()
    def apply_all(self, targets: Sequence[Tower], batches: Sequence[Batch], aids: Aids) -> Iterator[Note]:
        """Choose all masks before the first is put in place."""
        todo: list[tuple[Site, str]] = []
        for target in targets:
            self.check(target)
            for site in self.chosen(target):
                reason = why_not_masked(site)
                if reason:
                    yield self.skip(site, target.name, reason)
                else:
                    todo.append((site, target.name))
        ranked = self._ranked([site for site, _ in todo]) if self.scope == "global" and todo else None
        for place, (site, tower) in enumerate(todo):
            yield self.mask_site(site, self._mask(site) if ranked is None else ranked[place], tower)

    def _ranked(self, sites: Sequence[Site]) -> list[Tensor]:
        """Masks of sites whose weights are ranked together."""
        masks = keep_largest_of_all([magnitude_scores(site.weight, self.norm) for site in sites], self.lost)
        for site, mask in zip(sites, masks, strict=True):
            if not bool(mask.any()):
                raise emptied(self.name, self.lost, site)
        return masks

    def _mask(self, site: Site) -> Tensor:
        """The mask of one site alone."""
        scores = magnitude_scores(site.weight, self.norm, self.unit)
        if self.n_of_m:
            return keep_n_of_m(scores.flatten(1), *self.n_of_m).reshape(scores.shape)
        return keep_largest_units(scores, self.lost, self.unit)
