"""Another width for channels that all layers share: the settings that say it, and the network they describe.

A setting is found by what it holds: the one that, changed, narrows every tensor a stream runs through. Heads follow
where their size is the width divided by their number, so that each keeps its size.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from penjing.models.expressible import Shapes, described_by, shapes_of, tree
from penjing.models.inner import UNREAD
from penjing.models.network import quiet
from penjing.models.streams import Port, Ports, Stream

COUNTS_HEADS = re.compile(r"heads?$")
"""Settings that number heads: `num_attention_heads`, `n_head`."""


class Axis(NamedTuple):
    """An axis of a tensor that gets shorter."""

    tensor: str
    axis: int
    port: Port
    old: int
    new: int


@dataclass(frozen=True, eq=False, slots=True)
class Resize:
    """Settings of a narrower network, and the axes that get shorter, by the stream they are of."""

    config: Any
    axes: Mapping[Stream, Sequence[Axis]]

    @property
    def missing(self) -> int:
        """At how many ports of its streams nothing gets shorter: of whole ones there are none."""
        return sum(len(stream.ports - {axis.port for axis in axes}) for stream, axes in self.axes.items())

    def count(self, stream: Stream) -> int:
        """How many units a stream has: channels, or heads."""
        return stream.inner.count if stream.inner else min(axis.old for axis in self.axes[stream])

    def kept(self, stream: Stream) -> int:
        """How many of them stay."""
        axis = self.axes[stream][0]
        return self.count(stream) * axis.new // axis.old

    def units(self, stream: Stream, axis: Axis) -> Tensor:
        """The unit of each channel of an axis: (axis.old,). Of several tokens side by side, each token's own."""
        if stream.inner is None:
            return torch.arange(axis.old) % self.count(stream)
        known = {Port("out", site.name): units for site, units in stream.inner.makers}
        return known.get(axis.port, stream.inner.read)


def find_resize(net: Any, streams: Sequence[Stream], stream: Stream, new: int) -> Resize | None:
    """Find settings by which a stream has `new` channels, with whatever else they narrow; None where none say so."""
    if not hasattr(net, "config"):
        return None
    old, before, ports = width_of(net, stream), shapes_of(net), Ports(net)
    owners = {port: one for one in streams for port in one.ports}
    best: Resize | None = None
    chosen: list[tuple[int, str]] = []
    places = [*_places(net.config, old)]
    for place in (place for _ in range(2) for place in places if place not in chosen):
        for heads in (False, True):
            config = _changed(net.config, [*chosen, place], (old, new), heads)
            axes = None if config is None else _shorter(net, config, before, ports, owners)
            if axes is None or (not heads and any(one.inner and one.inner.kind == "heads" for one in axes)):
                continue
            found = Resize(config, axes)
            if stream in axes and (best is None or found.missing < best.missing):
                best, chosen = found, [*chosen, place]
            break
        if best is not None and _is_whole(best):
            return best
    return None


def width_of(net: nn.Module, stream: Stream) -> int:
    """How many channels a stream has, as the first site that reads it says; 0 where none does."""
    sites = Ports(net).sites
    readers = [sites[port.name] for port in stream.ports if port.side == "in" and port.name in sites]
    return next((int(site.weight.shape[1]) for site in readers if site.kind != "embedding"), 0)


def _places(config: Any, value: int) -> Iterator[tuple[int, str]]:
    """Settings that hold a number: which of the configurations inside, and the key."""
    for place, holder in enumerate(tree(config)):
        for key, held in vars(holder).items():
            if type(held) is int and held == value:
                yield place, key


def _changed(config: Any, places: Sequence[tuple[int, str]], width: tuple[int, int], heads: bool) -> Any:
    """A configuration with the new width at these places and, if asked, as many heads fewer; None where it cannot."""
    config = copy.deepcopy(config)
    holders = [*tree(config)]
    try:
        for place in {place for place, _ in places} if heads else ():
            for name, value in [*vars(holders[place]).items()]:
                if type(value) is int and COUNTS_HEADS.search(name) and value:
                    setattr(holders[place], name, _scaled(value, *width))
        for place, key in places:
            setattr(holders[place], key, width[1])
    except Exception:  # whatever a configuration says of a value that does not go with another
        return None
    return config


def _scaled(count: int, old: int, new: int) -> int:
    if count * new % old:
        raise ValueError(f"{count} heads cannot become {count * new / old:g}")
    return count * new // old


def _shorter(
    net: nn.Module, config: Any, before: Shapes, ports: Ports, owners: Mapping[Port, Stream]
) -> dict[Stream, list[Axis]] | None:
    """The axes that these settings make shorter, by stream; None where they do something else, or nothing at all."""
    try:
        after = shapes_of(described_by(net, config))
    except Exception:  # whatever an architecture says of settings that do not go together
        return None
    found: dict[Stream, list[Axis]] = {}
    if before.keys() != after.keys():
        return None
    for tensor, shape in before.items():
        if len(shape) != len(after[tensor]):
            return None
        for place, (old, new) in enumerate(zip(shape, after[tensor], strict=True)):
            if old == new:
                continue
            port = ports.of(tensor, place)
            stream = owners.get(port) if port else None
            if port is None or stream is None or new > old:
                return None
            found.setdefault(stream, []).append(Axis(tensor, place, port, old, new))
    return found or None


def _is_whole(resize: Resize) -> bool:
    """Whether every stream gets narrower at all of its ports, by whole units."""
    if resize.missing:
        return False
    for stream, axes in resize.axes.items():
        if any(len(resize.units(stream, axis)) != axis.old or axis.old % resize.count(stream) for axis in axes):
            return False
        if stream.inner and any(bool((units == UNREAD).any()) for _, units in stream.inner.makers):
            return False
        if any(axis.new * resize.count(stream) != axis.old * resize.kept(stream) for axis in axes):
            return False
    return True


@torch.no_grad()
def resized(net: Any, resize: Resize, keep: Mapping[Stream, Tensor]) -> nn.Module:
    """Build the network that the settings describe, with the weights of the units that `keep` names: bool (units,)."""
    values = {name: tensor.detach() for name, tensor in net.state_dict().items()}
    for stream, axes in resize.axes.items():
        for axis in axes:
            stays = keep[stream][resize.units(stream, axis)]
            values[axis.tensor] = values[axis.tensor].index_select(axis.axis, stays.nonzero()[:, 0])
    with quiet():
        found: Any = type(net)._from_config(copy.deepcopy(resize.config), dtype=torch.float32)
    found.load_state_dict(values)
    found.generation_config = getattr(net, "generation_config", None)
    narrow: nn.Module = found.eval().requires_grad_(False)
    return narrow
