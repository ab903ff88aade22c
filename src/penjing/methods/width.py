"""Narrower layers: neurons of feed-forward parts, heads of attention, inner channels of convolutions are taken away."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from penjing.calibrate.call import Call, real_calls
from penjing.calibrate.gates import felt
from penjing.calibrate.moments import Moments
from penjing.calibrate.walk import walk
from penjing.errors import RecipeError
from penjing.layers.masked import mask_of
from penjing.methods.base import Aids, Method, method, not_finite
from penjing.models.expressible import Change, can_say, express
from penjing.models.family import Model
from penjing.models.inner import Inner, Kind, find_inner, is_convolution
from penjing.models.narrow import narrow, narrow_shapes
from penjing.models.tower import Batch, Role, Site, Tower, find_places
from penjing.tensor.brain import output_error
from penjing.tensor.importance import by_unit, most, output_energy, refit, squared_norms
from penjing.values import Note

Score = Literal["magnitude", "energy", "taylor", "cross_modal"]
SMALLEST = 16
"""Channels of the smallest block that engines read weights in."""
UNCACHED = "the cache is made for heads, and no setting can say fewer"
UNSHARED = "its channels are made or read outside of its block"
UNSAID = "no setting of the configuration says this width: the graphs have it, a checkpoint opens in penjing alone"


@dataclass(frozen=True, eq=False, slots=True)
class _Place:
    """Inner channels, the block they are in, and how to run that block once."""

    tower: Tower
    block: nn.Module
    inner: Inner
    run: Callable[[], Any]

    @property
    def name(self) -> str:
        return self.inner.reader.name

    @property
    def parents(self) -> list[nn.Module]:
        """The modules of the block that hold the reader."""
        reader = self.inner.reader.module
        return [module for module in self.block.modules() if any(inner is reader for inner in module.modules())][:-1]

    @property
    def sites(self) -> list[Site]:
        return [*(maker for maker, _ in self.inner.makers), self.inner.reader]


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

    def refuse(self, model: Model, targets: Sequence[Tower]) -> None:
        """Refuse a share that would leave a layer empty, or narrower than an engine's block."""
        if not any(self.shares.values()):
            raise RecipeError("width takes nothing away", hint="give neurons, heads or channels: a share such as 0.25")
        if self.uneven and self.score not in ("taylor", "cross_modal"):
            raise RecipeError(
                f"width: {self.score} does not compare blocks",
                hint="give score: cross_modal or taylor where it is uneven",
            )
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
        places = self._places(aids.model, targets, batches)
        places, unsaid_heads = self._sayable(aids.model, places)
        scores = self._scores(aids, places, batches)
        shapes = {site.name: tuple(site.weight.shape) for place in places for site in place.sites}
        notes: dict[str, Note] = {}
        changes: list[Change] = []
        for target in targets:
            for note, pair in self._narrow_tower(target, places, scores, batches, aids):
                notes[note.site] = _joined(notes.get(note.site), note, shapes[note.site])
                changes += pair
        unsaid = express(aids.model.net, [*dict.fromkeys(changes)]) if changes else set()
        for note in notes.values():
            yield note if note.skipped or f"{note.site}.weight" not in unsaid else replace(note, remark=UNSAID)
        for note in unsaid_heads:
            yield note
        touched = {*notes, *(note.site for note in unsaid_heads)}
        for target in targets:
            for site in (site for site in self.chosen(target) if site.name not in touched):
                yield Note(site.name, self.name, target.name, 32.0, skipped=UNSHARED)

    def _places(self, model: Model, targets: Sequence[Tower], batches: Sequence[Batch]) -> list[_Place]:
        """The inner channels of all blocks that this step is to narrow."""
        everything = [*find_places(model.net)]
        found = []
        for tower in targets:
            wanted = {site.name for site in self.chosen(tower)}
            for block in tower.blocks:
                inside = {id(module) for module in block.modules()}
                sites = [site for site in everything if id(site.parent) in inside]
                call = next((one for batch in batches[:1] for one in real_calls(tower, block, batch)), None)
                if call is None:
                    continue
                run = _again(block, call)
                for inner in find_inner(block, run, sites):
                    place = _Place(tower, block, inner, run)
                    if self.shares[inner.kind] and wanted & {site.name for site in place.sites}:
                        found.append(place)
        return found

    def _sayable(self, model: Model, places: Sequence[_Place]) -> tuple[list[_Place], list[Note]]:
        """Leave heads of decoders alone that no setting can say: graphs and runtimes shape the cache by settings."""
        left: list[_Place] = []
        notes: list[Note] = []
        for tower in {id(place.tower): place.tower for place in places}.values():
            mine = [place for place in places if place.tower is tower]
            heads = [place for place in mine if place.inner.kind == "heads" and tower.role == "decoder"]
            shapes = {
                key: shape for one in heads for key, shape in narrow_shapes(one.inner, self._kept(one.inner)).items()
            }
            changes = [change for one in heads for change in _changes(one.inner, self._kept(one.inner))]
            if heads and not can_say(model.net, [*dict.fromkeys(changes)], shapes):
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
        least = 1 if inner.kind == "heads" else min(SMALLEST, self.multiple, inner.count)
        if kept < least:
            raise RecipeError(
                f"{inner.reader.name}: {self.name} would leave {kept:g} of its {inner.count} {inner.kind}",
                hint=f"leave at least {least}: take a smaller share away",
            )
        return int(kept)

    def _scores(self, aids: Aids, places: Sequence[_Place], batches: Sequence[Batch]) -> dict[str, Tensor]:
        """Scores of units by the reader's name, as far as they do not wait for what a block sees."""
        if self.score in ("taylor", "cross_modal"):
            labels: Literal["data", "own"] = "data" if self.score == "taylor" else "own"
            inner = {place.name: place.inner for place in places}
            return felt(aids.model, inner, batches, labels, aids.tell) if inner else {}
        return {place.name: _magnitude(place.inner) for place in places}

    def _narrow_tower(
        self,
        target: Tower,
        places: Sequence[_Place],
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
        for stretch, _, stats in walk(target, batches, Moments, {place.name for place in mine}):
            for place in (place for place in mine if place.block is stretch.module):
                seen = stats.get(place.name)
                assert seen is None or isinstance(seen, Moments)
                if seen is not None and not seen.finite:
                    raise not_finite(place.name, seen.bad_item)
                keep = most(self._score(place.inner, scores, seen), kept[place.name])
                for note in self._cut(place, keep, seen, aids.model):
                    yield note, [] if note.skipped else _changes(place.inner, int(keep.sum()))
                done += 1
                aids.tell(f"narrow {target.name}", done, len(mine))

    def _numbers(self, places: Sequence[_Place], scores: dict[str, Tensor]) -> dict[str, int]:
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
        """What numbers of units are a multiple of: heads, and what is too narrow for it, of one."""
        return 1 if inner.kind == "heads" or inner.count < 2 * self.multiple else self.multiple

    def _score(self, inner: Inner, scores: dict[str, Tensor], seen: Moments | None) -> Tensor:
        gram = None if seen is None else seen.values
        if self.score != "energy" or gram is None or len(gram) != len(inner.read):
            return scores[inner.reader.name]
        return by_unit(output_energy(inner.reader.weight, gram.diagonal()), inner.read, inner.count)

    def _cut(self, place: _Place, keep: Tensor, seen: Moments | None, model: Model) -> Iterator[Note]:
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
            yield Note(site.name, self.name, owner, 32.0, own, size_bytes=4 * prod(shape), change=_shape_text(shape))


def _again(block: nn.Module, call: Call) -> Callable[[], Any]:
    """Run a block once more on the same arguments."""

    def run() -> Any:
        copied = call.copy()
        return block(*copied.args, **copied.kwargs)

    return run


def _changes(inner: Inner, kept: int) -> list[Change]:
    """Numbers that change: of units, of heads that share their keys, of channels."""
    sizes = dict.fromkeys((inner.count, *(len(units) for _, units in inner.makers)))
    shared = {len(units) for _, units in inner.makers}
    heads = [inner.count * max(shared) // least for least in shared] if inner.kind == "heads" else []
    return [Change(size, size * kept // inner.count) for size in dict.fromkeys((*sizes, *heads))]


def _magnitude(inner: Inner) -> Tensor:
    """Squared norms of all weights that a unit has, each layer's counted as much."""
    parts = [(squared_norms(maker.weight), units) for maker, units in inner.makers]
    parts.append((squared_norms(inner.reader.weight, 1), inner.read))
    sums = [by_unit(norms, units, inner.count) for norms, units in parts]
    return torch.stack([one / one.mean().clamp_min(1e-12) for one in sums]).sum(0)


def _lost(old: Tensor, new: Tensor, gram: Tensor, stays: Tensor) -> float:
    """Relative error of a reader's output over what was seen, the bias apart."""
    spread = torch.zeros_like(old)
    spread[:, stays] = new
    return output_error(old, spread, gram)


def _joined(earlier: Note | None, note: Note, shape: tuple[int, ...]) -> Note:
    """One note of a site that reads inner channels and makes others, from the shape that it had."""
    if note.skipped:
        return note if earlier is None or earlier.skipped else earlier
    error = max(note.error, earlier.error if earlier else 0.0)
    return replace(note, error=error, change=f"{_shape_text(shape)} → {note.change}")


def _shape_text(shape: tuple[int, ...]) -> str:
    """out × in, as a person reads it."""
    return " × ".join(map(str, shape))
