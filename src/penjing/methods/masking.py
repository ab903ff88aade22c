"""What methods that mask weights have in common: how much goes, what cannot be masked, what is told of a site."""

from __future__ import annotations

from abc import ABC
from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field, ValidationInfo, field_validator
from torch import Tensor

from penjing.errors import RecipeError
from penjing.layers.bitmap import stored_bytes
from penjing.layers.masked import mask_of, masked_layer
from penjing.methods.base import Method
from penjing.methods.placing import why_not_coded
from penjing.models.family import Model
from penjing.models.tower import Role, Site, Tower
from penjing.tensor.grid import relative_error
from penjing.tensor.mask import gone
from penjing.values import Note

HALF = 0.5
LARGEST_PATTERN = 64
STORAGE_ONLY = "masks save bytes in checkpoint/ and no time on a CPU: onnx/ holds the zeros, engines multiply by them"


class Masking(Method, ABC):
    """A share of each site's weights goes, or all but n of every m inputs."""

    roles: ClassVar[tuple[Role, ...]] = ("encoder", "decoder", "connector")

    share: float | None = Field(None, gt=0, lt=1, description="share of the weights that go; 0.5 where nothing is said")
    pattern: str | None = Field(None, description="`2:4`: of every 4 consecutive inputs of an output 2 stay")

    @field_validator("pattern")
    @classmethod
    def _n_of_m(cls, pattern: str | None, info: ValidationInfo) -> str | None:
        """Two numbers, and no share beside them."""
        if pattern is None:
            return None
        n, colon, m = pattern.partition(":")
        if not (colon and n.isdecimal() and m.isdecimal() and 0 < int(n) < int(m) <= LARGEST_PATTERN):
            raise ValueError(f"{pattern!r} is not n:m with 0 < n < m <= {LARGEST_PATTERN}, as in 2:4")
        if info.data.get("share") is not None:
            raise ValueError("it says how much goes, so leave `share` away")
        return pattern

    @property
    def leaves_codes(self) -> bool:
        """Floats stay floats."""
        return False

    @property
    def n_of_m(self) -> tuple[int, int] | None:
        """The pattern as numbers."""
        if self.pattern is None:
            return None
        n, _, m = self.pattern.partition(":")
        return int(n), int(m)

    @property
    def lost(self) -> float:
        """The share that goes."""
        if self.n_of_m:
            return 1 - self.n_of_m[0] / self.n_of_m[1]
        return HALF if self.share is None else self.share

    def fits(self, site: Site) -> bool:
        """Layers that multiply by a matrix."""
        return site.kind == "linear"

    def conflict(self, earlier: Method) -> str:
        """Codes are chosen for the weights that stay, not the other way round."""
        return "masks are chosen among floats: mask first, and codes keep the zeros" if earlier.leaves_codes else ""

    def refuse(self, model: Model, targets: Sequence[Tower]) -> None:
        """Refuse a pattern that does not divide a site's inputs, and a share that leaves a site nothing."""
        for tower in targets:
            self.check(tower)

    def check(self, tower: Tower) -> None:
        """Refuse a pattern that does not divide a site's inputs, and a share that leaves a site nothing."""
        for site in self.chosen(tower):
            if why_not_masked(site):
                continue
            inputs = site.weight.flatten(1).shape[1]
            if self.n_of_m and inputs % self.n_of_m[1]:
                raise RecipeError(
                    f"{self.name}: the pattern {self.pattern} does not divide the {inputs} inputs of {site.name}",
                    hint="leave that site out by naming others in `sites`, or give a `share`",
                )
            if self.empties(site):
                raise emptied(self.name, self.lost, site)

    def empties(self, site: Site) -> bool:
        """Whether nothing of a site would stay."""
        return gone(site.weight.numel(), self.lost) == site.weight.numel()

    def mask_site(self, site: Site, mask: Tensor, tower: str, weight: Tensor | None = None) -> Note:
        """Put a masked layer at a site, with other weights where they moved; what a mask took before stays gone."""
        before, earlier = site.weight.detach().clone(), mask_of(site.module)
        kept, mask = before if weight is None else weight, mask if earlier is None else mask & earlier
        layer = masked_layer(site.module, kept, mask)
        site.replace(layer)
        for place in site.tied:
            other = masked_layer(place.module, kept, mask)
            other.share(layer)
            place.replace(other)
        size_bytes = stored_bytes(layer)
        share = 1 - float(layer.mask.float().mean())
        return Note(
            site.name,
            self.name,
            tower,
            8.0 * size_bytes / before.numel(),
            relative_error(before, layer.weight),
            size_bytes=size_bytes,
            remark=STORAGE_ONLY,
            change=f"{share:.0%} masked{f', {self.pattern}' if self.pattern else ''}",
        )

    def skip(self, site: Site, tower: str, reason: str) -> Note:
        """Say why a site is left."""
        return Note(site.name, self.name, tower, 32.0, skipped=reason)


def why_not_masked(site: Site) -> str:
    """Say why a site cannot be masked; empty where it can."""
    if site.tied and site.kind != "embedding":
        return f"its weights are also read by {site.tied[0].name}"
    return why_not_coded(site, 0)


def emptied(method: str, share: float, site: Site) -> RecipeError:
    """What to say of a site of which nothing would stay."""
    return RecipeError(f"{method}: a share of {share:g} would empty {site.name}", hint="give a smaller share")
