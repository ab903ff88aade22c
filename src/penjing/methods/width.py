"""Narrower layers: neurons of feed-forward parts, heads of attention, inner channels of convolutions are taken away."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from penjing.calibrate.gates import felt
from penjing.calibrate.moments import Moments
from penjing.calibrate.walk import walk
from penjing.errors import RecipeError
from penjing.layers.masked import mask_of
from penjing.methods.base import Aids, Method, method, not_finite
from penjing.methods.hidden import narrow_hidden, plan_hidden, why_not_narrower
from penjing.methods.narrowing import Score, energy, joined, magnitude, shape_text
from penjing.methods.places import Place, has_stem, parts_beside, places_within, towers_of
from penjing.models.expressible import Change, can_say, distinct, express
from penjing.models.family import Model
from penjing.models.inner import Inner, Kind, is_convolution
from penjing.models.narrow import narrow, narrow_shapes
from penjing.models.open import refreshed
from penjing.models.tower import Batch, Role, Site, Tower
from penjing.tensor.brain import output_error
from penjing.tensor.importance import most, refit
from penjing.values import Note

SMALLEST = 16
"""Channels of the smallest block that engines read weights in."""
UNCACHED = "the cache is made for heads, and no setting can say fewer"
UNSHARED = "its channels are made or read outside of its block"
UNSAID = "no setting of the configuration says this width: the graphs have it, a checkpoint opens in penjing alone"


@method("width")
class Width(Method):
    """Take a share of a tower's inner channels away; layers, files and graphs really get smaller.

    In a recipe: `{method: width, neurons: 0.25, towers: [image]}`. What goes together is found from the model itself
    and proven on it. Every block loses the same number, so that a configuration can say it, unless `uneven`. What
    stays takes over what it can from what goes, by least squares over calibration data (`refit`).

    Scores: `magnitude` of all weights of a unit; `energy` it adds to its reader's output; `taylor`, what the likelihood
    of the data's own words and matches feels of it; `cross_modal`, what the model's answers across its modalities feel
    of it, whatever the data say.
    """

    roles: ClassVar[tuple[Role, ...]] = ("encoder", "decoder", "connector")
    needs_data: ClassVar[bool] = True
    restructures: ClassVar[bool] = True

    neurons: float = Field(0.0, ge=0, lt=1, description="share of each feed-forward part's neurons that goes")
    heads: float = Field(0.0, ge=0, lt=1, description="share of each attention's heads that goes")
    channels: float = Field(0.0, ge=0, lt=1, description="share of inner channels of convolutions that goes")
    hidden: float = Field(0.0, ge=0, lt=1, description="share of the channels that all layers share that goes")
    score: Score = Field("energy", description="what the units that stay are chosen by")
    uneven: bool = Field(
        False, description="let blocks of a tower lose different numbers, as taylor or cross_modal says"
    )
    refit: bool = Field(True, description="let what stays take over from what goes, by least squares")
    multiple: int = Field(32, ge=1, description="neurons and channels that stay are a multiple of it")

    @property
    def leaves_codes(self) -> bool:
        """No: what stays are floats."""
        return False

    @property
    def shares(self) -> dict[Kind, float]:
        """What share of each kind goes."""
        return {"neurons": self.neurons, "heads": self.heads, "channels": self.channels}

    def fits(self, site: Site) -> bool:
        """Float layers."""
        return site.kind in ("linear", "conv") and isinstance(site.module.weight, nn.Parameter)

    def misfit(self, tower: Tower, model: Model) -> str:
        """Towers whose hidden width nothing says, where that is all that is to go."""
        only = self.hidden and tower.blocks and not any(self.shares.values())
        return why_not_narrower(model, tower, self.hidden, self.multiple) if only else ""

    def refuse(self, model: Model, targets: Sequence[Tower]) -> None:
        """Refuse a share that would leave a layer empty, or narrower than an engine's block."""
        if not any((*self.shares.values(), self.hidden)):
            raise RecipeError(
                "width takes nothing away", hint="give neurons, heads, channels or hidden: a share such as 0.25"
            )
        if self.uneven and self.score not in ("taylor", "cross_modal"):
            raise RecipeError(
                f"width: {self.score} does not compare blocks",
                hint="give score: cross_modal or taylor where it is uneven",
            )
        plans = plan_hidden(model, targets, self.hidden, self.multiple) if self.hidden else []
        if plans and not any(plan.resize for plan in plans):
            raise RecipeError(f"tower {plans[0].tower.name}: {plans[0].reason}", hint="leave hidden out for it")
        probe = model.family.probe(model.net, 0)
        for place in self._places(model, targets, [probe]):
            self._kept(place.inner)

    @torch.no_grad()
    def apply(self, target: Tower, batches: Sequence[Batch], aids: Aids) -> Iterator[Note]:
        """Narrow one tower."""
        yield from self.apply_all([target], batches, aids)

    @torch.no_grad()
    def apply_all(self, targets: Sequence[Tower], batches: Sequence[Batch], aids: Aids) -> Iterator[Note]:
        """Narrow every tower, then let the configuration say so."""
        self.require(batches)
        shapes = {site.name: tuple(site.weight.shape) for tower in aids.model.towers for site in tower.sites.values()}
        notes: dict[str, Note] = {}
        if self.hidden:
            settings = self.hidden, self.multiple, self.score, self.refit
            for note in narrow_hidden(targets, batches, aids, settings):
                notes[note.site] = joined(None, note, shapes.get(note.site, ()))
            aids = replace(aids, model=refreshed(aids.model))
            targets = [one for one in aids.model.towers if any(one.name == other.name for other in targets)]
        unsaid: set[str] = set()
        if any(self.shares.values()):
            unsaid = self._narrow_inner(targets, batches, aids, (shapes, notes))
        for note in notes.values():
            said = note.skipped or note.remark or f"{note.site}.weight" not in unsaid
            yield note if said else replace(note, remark=UNSAID)
        for target in targets:
            for site in (site for site in self.chosen(target) if site.name not in notes):
                yield Note(site.name, self.name, target.name, 32.0, skipped=UNSHARED)

    def _narrow_inner(
        self,
        targets: Sequence[Tower],
        batches: Sequence[Batch],
        aids: Aids,
        told: tuple[Mapping[str, tuple[int, ...]], dict[str, Note]],
    ) -> set[str]:
        """Narrow what blocks keep to themselves; adds to the notes, and returns the tensors that no setting says."""
        shapes, notes = told
        places = self._with_sharers(aids.model, self._places(aids.model, targets, batches), batches)
        places, unsaid_heads = self._sayable(aids.model, places)
        scores = self._scores(aids, places, batches)
        changes: list[Change] = []
        for target in targets:
            for note, pair in self._narrow_tower(target, places, scores, batches, aids):
                notes[note.site] = joined(notes.get(note.site), note, shapes[note.site])
                changes += pair
        notes.update({note.site: note for note in unsaid_heads if note.site not in notes})
        return express(aids.model.net, distinct(changes)) if changes else set()

    def _places(self, model: Model, targets: Sequence[Tower], batches: Sequence[Batch]) -> list[Place]:
        """The inner channels of all blocks, and of convolutions outside of them, that this step is to narrow."""
        parts = {
            tower.name: [*tower.blocks, *([tower.module] if self.channels and has_stem(tower) else [])]
            for tower in targets
        }
        return [place for tower in targets for place in self._within(model, tower, parts[tower.name], batches)]

    def _within(
        self, model: Model, tower: Tower, parts: Sequence[nn.Module], batches: Sequence[Batch]
    ) -> Iterator[Place]:
        """Those inside of some parts of a tower."""
        wanted = {site.name for site in self.chosen(tower)}
        for place in places_within(model, tower, parts, batches):
            if self.shares[place.inner.kind] and wanted & {site.name for site in place.sites}:
                yield place

    def _with_sharers(self, model: Model, places: Sequence[Place], batches: Sequence[Batch]) -> list[Place]:
        """With feed-forward parts beside the blocks (a pooling head's), where one setting gives their width and theirs.

        A configuration can say a narrower one only if both are; otherwise they stay as they are.
        """
        found = [*places]
        for tower in towers_of(places) if not self.uneven else ():
            mine = [place for place in places if place.tower is tower and place.inner.kind == "neurons"]
            parts = parts_beside(tower, {place.inner.count for place in mine})
            beside = [one for one in self._within(model, tower, parts, batches) if one.inner.kind == "neurons"]
            if beside and not self._can_say(model, mine) and self._can_say(model, [*mine, *beside]):
                found += beside
        return found

    def _can_say(self, model: Model, places: Sequence[Place]) -> bool:
        """Whether settings can say that these places are narrower, and nothing else is."""
        kept = [(place.inner, self._kept(place.inner)) for place in places]
        shapes = {key: shape for inner, count in kept for key, shape in narrow_shapes(inner, count).items()}
        changes = distinct(change for inner, count in kept for change in _changes(inner, count))
        return can_say(model.net, changes, shapes)

    def _sayable(self, model: Model, places: Sequence[Place]) -> tuple[list[Place], list[Note]]:
        """Leave heads of decoders alone that no setting can say: graphs and runtimes shape the cache by settings."""
        left: list[Place] = []
        notes: list[Note] = []
        for tower in towers_of(places):
            mine = [place for place in places if place.tower is tower]
            heads = [place for place in mine if place.inner.kind == "heads" and tower.role == "decoder"]
            if heads and not self._can_say(model, heads):
                mine = [place for place in mine if place not in heads]
                names = dict.fromkeys(site.name for one in heads for site in one.sites)
                notes += [Note(name, self.name, tower.name, 32.0, skipped=UNCACHED) for name in names]
            left += mine
        return left, notes

    def _kept(self, inner: Inner) -> int:
        """How many units stay."""
        share = self.shares[inner.kind]
        kept = (1 - share) * inner.count
        kept = round(kept / self._step(inner)) * self._step(inner)
        least = 1 if inner.is_grouped else min(SMALLEST, self.multiple, inner.count)
        if kept < least:
            raise RecipeError(
                f"{inner.reader.name}: {self.name} would leave {kept:g} of its {inner.count} {inner.kind}",
                hint=f"leave at least {least}: take a smaller share away",
            )
        return int(kept)

    def _scores(self, aids: Aids, places: Sequence[Place], batches: Sequence[Batch]) -> dict[str, Tensor]:
        """Scores of units by the reader's name, as far as they do not wait for what a block sees."""
        if self.score in ("taylor", "cross_modal"):
            labels: Literal["data", "own"] = "data" if self.score == "taylor" else "own"
            inner = {place.name: place.inner for place in places}
            return felt(aids.model, inner, batches, labels, aids.tell) if inner else {}
        return {one.name: magnitude(one.inner.makers, one.inner.readers, one.inner.count) for one in places}

    def _narrow_tower(
        self,
        target: Tower,
        places: Sequence[Place],
        scores: dict[str, Tensor],
        batches: Sequence[Batch],
        aids: Aids,
    ) -> Iterator[tuple[Note, list[Change]]]:
        """Narrow block after block, each fed by what the narrow ones before it give."""
        mine = [place for place in places if place.tower is target]
        kept = self._numbers(mine, scores)
        done = 0
        if not mine:
            return
        watched = {place.name for place in mine if not is_convolution(place.inner.reader.module)}
        for stretch, _, stats in walk(target, batches, Moments, watched):
            for place in (place for place in mine if place.is_in(stretch)):
                seen = stats.get(place.name)
                assert seen is None or isinstance(seen, Moments)
                if seen is not None and not seen.finite:
                    raise not_finite(place.name, seen.bad_item)
                keep = most(self._score(place.inner, scores, seen), kept[place.name])
                for note in self._cut(place, keep, seen, aids.model):
                    yield note, [] if note.skipped else _changes(place.inner, int(keep.sum()))
                done += 1
                aids.tell(f"narrow {target.name}", done, len(mine))

    def _numbers(self, places: Sequence[Place], scores: dict[str, Tensor]) -> dict[str, int]:
        """How many units stay at each place: the same share of each, or as all of a tower's together rank."""
        even = {place.name: self._kept(place.inner) for place in places}
        if not self.uneven:
            return even
        for kind in {place.inner.kind for place in places}:
            alike = [place for place in places if place.inner.kind == kind]
            ranked = torch.cat([self._with_least(one.inner, scores[one.name]) for one in alike])
            keep = most(ranked, sum(even[one.name] for one in alike))
            for one, some in zip(alike, torch.split(keep, [one.inner.count for one in alike]), strict=True):
                step = self._step(one.inner)
                even[one.name] = min(one.inner.count, round(int(some.sum()) / step) * step)
        return even

    def _with_least(self, inner: Inner, scores: Tensor) -> Tensor:
        """Scores by which a place never loses all: its best units come before those of any other."""
        return scores.masked_fill(most(scores, self._step(inner)), torch.inf)

    def _step(self, inner: Inner) -> int:
        """What numbers of units are a multiple of: heads, groups, and what is too narrow for it, of one."""
        return 1 if inner.is_grouped or inner.count < 2 * self.multiple else self.multiple

    def _score(self, inner: Inner, scores: dict[str, Tensor], seen: Moments | None) -> Tensor:
        gram = None if seen is None else seen.values
        if self.score != "energy" or gram is None or len(gram) != len(inner.read):
            return scores[inner.reader.name]
        return energy(inner.readers, {inner.reader.name: gram.diagonal()}, inner.count)

    def _cut(self, place: Place, keep: Tensor, seen: Moments | None, model: Model) -> Iterator[Note]:
        """Take units away and refit their reader; a note for every site of theirs."""
        inner, reader = place.inner, place.inner.reader
        old, bias = reader.weight.detach().clone(), reader.bias
        reason = "nothing is to go" if bool(keep.all()) else narrow(inner, keep, place.parents, place.run)
        error = 0.0
        gram = None if seen is None else seen.values
        if not reason and gram is not None and not is_convolution(reader.module):
            stays = inner.channels(keep)
            if self.refit and seen is not None:
                weight, moved = refit(old, bias, gram, seen.total, seen.tokens, stays)
                mask = mask_of(reader.module)
                reader.weight.copy_(weight if mask is None else weight.masked_fill(~mask, 0))
                if bias is not None and moved is not None:
                    bias.copy_(moved)
            error = _lost(old, reader.weight, gram, stays)
        for site in place.sites:
            owner = next((tower.name for tower in model.towers if site.name in tower.sites), place.tower.name)
            if reason:
                yield Note(site.name, self.name, owner, 32.0, skipped=reason)
                continue
            shape = tuple(site.weight.shape)
            own = error if site is reader else 0.0
            yield Note(site.name, self.name, owner, 32.0, own, size_bytes=4 * prod(shape), change=shape_text(shape))


def _changes(inner: Inner, kept: int) -> list[Change]:
    """Numbers that change: of units, of heads that share their keys, of channels."""
    sizes = dict.fromkeys((inner.count, *(len(units) for _, units in inner.makers)))
    shared = {len(units) for _, units in inner.makers}
    heads = [inner.count * max(shared) // least for least in shared] if inner.kind == "heads" else []
    sites = frozenset(site.name for site, _ in (*inner.makers, *inner.readers))
    return [Change(size, size * kept // inner.count, sites=sites) for size in dict.fromkeys((*sizes, *heads))]


def _lost(old: Tensor, new: Tensor, gram: Tensor, stays: Tensor) -> float:
    """Relative error of a reader's output over what was seen, the bias apart."""
    spread = torch.zeros_like(old)
    spread[:, stays] = new
    return output_error(old, spread, gram)
