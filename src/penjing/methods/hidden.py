"""The hidden width: how `width` takes away channels that all layers of a tower share.

They are in no layer's hands alone, so nothing can be cut block by block: the settings that say the width are found, the
network they describe is built from the weights that stay, and its layers are fitted to what the wide ones gave.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Literal

from torch import Tensor

from penjing.calibrate.energy import Energy
from penjing.calibrate.fitting import fit_to
from penjing.calibrate.gates import felt
from penjing.calibrate.walk import walk
from penjing.errors import RecipeError
from penjing.layers.described import DescribedLayer
from penjing.methods.base import Aids
from penjing.methods.narrowing import Numbered, Score, energy, magnitude, shape_text
from penjing.models.blind import why_unproven
from penjing.models.family import Model
from penjing.models.open import refreshed
from penjing.models.resize import Resize, find_resize, resized, width_of
from penjing.models.streams import Ports, Stream, find_streams
from penjing.models.tower import Batch, Tower
from penjing.tensor.importance import most
from penjing.values import Note

UNSAID = "no setting of the configuration says how many channels its layers share"
CHANGED = "an earlier step put other layers into the model: hidden comes before it"
GIVEN = "its hidden channels are what it answers with"
OUTSIDE = ("embedding", "head")
"""Roles of towers that read or write what another carries."""


@dataclass(frozen=True, eq=False, slots=True)
class Plan:
    """How a tower gets narrower, or why it cannot."""

    tower: Tower
    resize: Resize | None = None
    reason: str = ""


@dataclass(frozen=True, eq=False, slots=True)
class _Units:
    """Units of a stream's channels, as scores take them."""

    count: int
    makers: Numbered
    readers: Numbered


def plan_hidden(model: Model, targets: Sequence[Tower], share: float, multiple: int) -> list[Plan]:
    """Say for each tower that has blocks how it gets narrower by a share.

    Raises RecipeError where a setting is the width of a tower besides that the recipe does not name, or where it would
    leave too little.
    """
    streams = find_streams(model, model.family.probe(model.net, 0))
    return [_plan(model, streams, (tower, targets), share, multiple) for tower in targets if tower.blocks]


def _plan(
    model: Model, streams: Sequence[Stream], towers: tuple[Tower, Sequence[Tower]], share: float, multiple: int
) -> Plan:
    """How one of several towers gets narrower."""
    tower, targets = towers
    if any(isinstance(module, DescribedLayer) for module in model.net.modules()):
        return Plan(tower, reason=CHANGED)
    stream = _stream_of(tower, streams)
    if stream is None or stream.given:
        return Plan(tower, reason=GIVEN if stream else UNSAID)
    resize = _narrower(model, streams, stream, share, multiple)
    if resize is None:
        return Plan(tower, reason=UNSAID)
    _check_named(model, targets, tower, resize)
    return Plan(tower, resize)


def why_not_narrower(model: Model, tower: Tower, share: float, multiple: int) -> str:
    """Say why a tower cannot get narrower, whichever others do; empty where it can."""
    streams = find_streams(model, model.family.probe(model.net, 0))
    return _plan(model, streams, (tower, model.towers), share, multiple).reason


def narrow_hidden(
    targets: Sequence[Tower],
    batches: Sequence[Batch],
    aids: Aids,
    settings: tuple[float, int, Score, bool],
) -> Iterator[Note]:
    """Narrow the streams of these towers in the very network; a note for each of its sites that got smaller.

    `settings` are the share that goes, what widths are a multiple of, the score, and whether layers are fitted.
    """
    share, multiple, score, fit = settings
    model, narrowed = aids.model, set[str]()
    for name in [tower.name for tower in targets if tower.blocks]:
        tower = next(one for one in model.towers if one.name == name)
        if name in narrowed:
            continue
        streams = find_streams(model, model.family.probe(model.net, 0))
        plan = _plan(model, streams, (tower, targets), share, multiple)
        if plan.resize is None:
            yield from (Note(site, "width", name, 32.0, skipped=plan.reason) for site in tower.sites)
            continue
        aids.tell(f"narrow {name}", 0, 0)
        keep = _chosen(model, plan.resize, score, batches, aids)
        narrow = refreshed(model, resized(model.net, plan.resize, keep))
        reason = why_unproven(model, narrow, plan.resize, keep, model.family.probe(model.net, 0))
        if reason:
            yield from (Note(site, "width", name, 32.0, skipped=reason) for site in tower.sites)
            continue
        touched = _touched(model, plan.resize)
        errors = _fitted(model, narrow, touched, (plan.resize, keep), batches) if fit else {}
        narrowed |= {one.name for one in touched}
        yield from _notes(model, narrow, plan.resize, errors)
        vars(model.net).update(vars(narrow.net))
        model = replace(refreshed(model), folder=model.folder)
        targets = [one for one in model.towers if any(one.name == other.name for other in targets)]


def _stream_of(tower: Tower, streams: Sequence[Stream]) -> Stream | None:
    """The stream that most sites of the tower's blocks read."""
    inside = {id(module) for block in tower.blocks for module in block.modules()}
    names = {name for name, site in tower.sites.items() if id(site.parent) in inside}
    counts = [sum(port.side == "in" and port.name in names for port in stream.ports) for stream in streams]
    best = max(range(len(streams)), key=counts.__getitem__, default=None)
    return streams[best] if best is not None and counts[best] > 1 else None


def _narrower(model: Model, streams: Sequence[Stream], stream: Stream, share: float, multiple: int) -> Resize | None:
    """The settings of the width next to the share that goes: a multiple, or one of a head's size."""
    old = width_of(model.net, stream)
    heads = {old // one.inner.count for one in streams if one.inner and one.inner.kind == "heads"}
    steps = [min(multiple, old), *sorted(heads)] if old else []
    widths = [round((1 - share) * old / step) * step for step in steps]
    if 0 in widths:
        raise RecipeError(f"width would leave none of the {old} hidden channels", hint="take a smaller share away")
    if widths and min(widths) == old:
        raise RecipeError(
            f"width: {share:g} of {old} hidden channels is none", hint=f"take {min(steps) / old:g} or more away"
        )
    tried = (find_resize(model.net, streams, stream, new) for new in dict.fromkeys(widths) if new < old)
    return next((found for found in tried if found is not None), None)


def _check_named(model: Model, targets: Sequence[Tower], tower: Tower, resize: Resize) -> None:
    """Refuse to narrow a tower that nobody named because a setting is the width of both."""
    wanted = {one.name for one in targets}
    others = [one.name for one in _touched(model, resize) if one.name not in wanted and one.role not in OUTSIDE]
    if others:
        raise RecipeError(
            f"tower {tower.name}: its hidden width is that of {', '.join(others)} too",
            hint=f"name them all: towers: [{', '.join([tower.name, *others])}]",
        )


def _touched(model: Model, resize: Resize) -> list[Tower]:
    """Towers whose own stream, or heads, get narrower: not those that merely read it."""
    written = {axis.port.name for axes in resize.axes.values() for axis in axes if axis.port.side == "out"}
    return [tower for tower in model.towers if written & {*tower.sites}]


def _units(resize: Resize, stream: Stream, ports: Ports) -> _Units:
    """A stream as scores take it."""
    if stream.inner is not None:
        return _Units(stream.inner.count, stream.inner.makers, stream.inner.readers)
    lengths = {axis.port: resize.units(stream, axis) for axis in resize.axes[stream]}
    makers, readers = (
        [(ports.sites[port.name], units) for port, units in lengths.items() if port.side == side]
        for side in ("out", "in")
    )
    return _Units(resize.count(stream), makers, readers)


def _chosen(model: Model, resize: Resize, score: Score, batches: Sequence[Batch], aids: Aids) -> dict[Stream, Tensor]:
    """Which units of each stream stay: bool (units,)."""
    ports = Ports(model.net)
    units = {str(place): _units(resize, stream, ports) for place, stream in enumerate(resize.axes)}
    if score in ("taylor", "cross_modal"):
        labels: Literal["data", "own"] = "data" if score == "taylor" else "own"
        scores = felt(model, units, batches, labels, aids.tell)
    elif score == "energy":
        seen = _energies(model, {site.name for one in units.values() for site, _ in one.readers}, batches)
        scores = {name: energy(one.readers, seen, one.count) for name, one in units.items()}
    else:
        scores = {name: magnitude(one.makers, one.readers, one.count) for name, one in units.items()}
    return {stream: most(scores[str(place)], resize.kept(stream)) for place, stream in enumerate(resize.axes)}


def _energies(model: Model, readers: set[str], batches: Sequence[Batch]) -> dict[str, Tensor]:
    """Σ x² of what these sites read, by name; towers without any need no data."""
    found: dict[str, Tensor] = {}
    for tower in model.towers:
        linear = {name for name in readers & {*tower.sites} if tower.sites[name].kind == "linear"}
        for _, _, stats in walk(tower, batches, Energy, linear) if linear else ():
            found |= {name: one.total for name, one in stats.items() if isinstance(one, Energy) and one.tokens}
    return found


def _fitted(
    model: Model,
    narrow: Model,
    touched: Sequence[Tower],
    cut: tuple[Resize, Mapping[Stream, Tensor]],
    batches: Sequence[Batch],
) -> dict[str, float]:
    """Fit the layers of the narrow towers; the relative error of each."""
    resize, keep = cut
    stays = {
        axis.port.name: keep[stream][resize.units(stream, axis)]
        for stream, axes in resize.axes.items()
        for axis in axes
        if axis.port.side == "out"
    }
    errors: dict[str, float] = {}
    for wide in (tower for tower in touched if tower.blocks):
        small = next(tower for tower in narrow.towers if tower.name == wide.name)
        errors |= dict(fit_to(wide, small, batches, stays))
    return errors


def _notes(model: Model, narrow: Model, resize: Resize, errors: Mapping[str, float]) -> Iterator[Note]:
    """A note for each site whose weight got smaller."""
    smaller = {axis.tensor for axes in resize.axes.values() for axis in axes}
    sites = {name: site for tower in narrow.towers for name, site in tower.sites.items()}
    for tower in model.towers:
        for name in (name for name in tower.sites if f"{name}.weight" in smaller):
            shape = tuple(sites[name].weight.shape)
            yield Note(name, "width", tower.name, 32.0, errors.get(name, 0.0), size_bytes=4 * prod(shape),
                       change=shape_text(shape))  # fmt: skip
