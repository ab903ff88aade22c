"""Make a configuration say what became of a network's shapes, proven by building the network that it describes."""

from __future__ import annotations

import copy
import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn

from penjing.models.network import quiet

Shapes = Mapping[str, tuple[int, ...]]
Key = str | tuple[str, int]
"""A setting, or a place in one that is a list."""


class Change(NamedTuple):
    """A number that some setting held and the one it should hold by now; of layers, the places of those that stay.

    Where `sites` are named, a setting must say the shape of one of these: another may hold the number by chance.
    """

    old: int
    new: int
    places: tuple[int, ...] = ()
    sites: frozenset[str] = frozenset()


def distinct(changes: Iterable[Change]) -> list[Change]:
    """Each pair of numbers once, with the sites of all."""
    found: dict[tuple[int, int, tuple[int, ...]], frozenset[str]] = {}
    for old, new, places, sites in changes:
        found[old, new, places] = found.get((old, new, places), frozenset()) | sites
    return [Change(*key, sites) for key, sites in found.items()]


def shapes_of(net: nn.Module) -> dict[str, tuple[int, ...]]:
    """Shape of every parameter and buffer by its name."""
    return {name: tuple(values.shape) for name, values in net.state_dict().items()}


def described_by(net: Any, config: Any) -> nn.Module:
    """The network that a configuration describes, without any weights."""
    with quiet(), torch.device("meta"):
        found: nn.Module = type(net)._from_config(copy.deepcopy(config), dtype=torch.float32)
    return found


def express(net: Any, changes: Sequence[Change]) -> set[str]:
    """Change settings until the configuration describes the network as it is, as far as they can; what is left over.

    Settings are found by what they hold and not by their names: each is changed that makes some described tensors like
    the real ones, and none unlike.
    """
    if not hasattr(net, "config"):
        return set()
    config, left = _settings_for(net, changes, shapes_of(net))
    _take_over(net, config)
    return left


def can_say(net: Any, changes: Sequence[Change], wanted: Shapes | None = None) -> bool:
    """Whether some settings describe the network, with tensors of the shapes `wanted` where they are named."""
    return not _settings_for(net, changes, {**shapes_of(net), **(wanted or {})})[1]


def _settings_for(net: Any, changes: Sequence[Change], wanted: Shapes) -> tuple[Any, set[str]]:
    """The configuration that comes nearest to these shapes, and the tensors that differ all the same."""
    config = copy.deepcopy(net.config)
    left = _differences(wanted, shapes_of(described_by(net, config)))
    progress = bool(left)
    while progress:
        progress = False
        for holder, change, key in [*_candidates(config, changes)]:
            rest = _rest_after(net, config, wanted, (holder, change, key), left)
            left, progress = (left, progress) if rest is None else (rest, True)
    return config, left


def _rest_after(
    net: Any, config: Any, wanted: Shapes, setting: tuple[Any, Change, Key], left: set[str]
) -> set[str] | None:
    """What still differs once a setting has changed; None, and it is as it was, where that is not less than is left.

    A list as long as there are layers may hold a value for each, or be that long by chance: both are tried.
    """
    holder, change, key = setting
    kept = dict(vars(holder))
    for places in dict.fromkeys((change.places, ())):
        rest = _tried(net, config, wanted) if _set(holder, change, key, places) else None
        if rest is not None and rest < left and _concern(left - rest, change.sites):
            return rest
        vars(holder).update(kept)
    return None


def _concern(tensors: Iterable[str], sites: frozenset[str]) -> bool:
    return not sites or any(name.rpartition(".")[0] in sites for name in tensors)


def _put(holder: Any, key: Key, value: int) -> None:
    if isinstance(key, str):
        setattr(holder, key, value)
        return
    name, place = key
    values = [*vars(holder)[name]]
    values[place] = value
    vars(holder)[name] = type(vars(holder)[name])(values)


def _set(holder: Any, change: Change, key: Key, places: Sequence[int]) -> bool:
    """Let a setting hold the new number, and lists of a value per layer the layers that stay."""
    try:
        for name, value in [*vars(holder).items()] if places else ():
            if isinstance(value, (list, tuple)) and len(value) == change.old:
                vars(holder)[name] = type(value)(value[place] for place in places)
        _put(holder, key, change.new)
    except Exception:  # whatever a configuration says of a value of a wrong kind
        return False
    return True


def _tried(net: Any, config: Any, wanted: Shapes) -> set[str] | None:
    """What still differs; None where these settings describe no network, or one that is too narrow somewhere."""
    try:
        found = shapes_of(described_by(net, config))
    except Exception:  # whatever an architecture says of settings that do not go together
        return None
    left = _differences(wanted, found)
    both = [(found[name], wanted[name]) for name in left & found.keys() & wanted.keys()]
    short = any(len(one) == len(other) and any(map(operator.lt, one, other)) for one, other in both)
    return None if short else left


def _differences(one: Shapes, other: Shapes) -> set[str]:
    return {name for name in one.keys() | other.keys() if one.get(name) != other.get(name)}


def _candidates(config: Any, changes: Sequence[Change]) -> Iterator[tuple[Any, Change, Key]]:
    """Settings that hold one of the old numbers, or nothing, and places of lists that hold one."""
    for holder in tree(config):
        for key, value in [*vars(holder).items()]:
            for change in changes:
                if value is None or (type(value) is int and value == change.old):
                    yield holder, change, key
                elif isinstance(value, (list, tuple)):
                    yield from ((holder, change, (key, place)) for place, held in enumerate(value)
                                if type(held) is int and held == change.old)  # fmt: skip


def tree(config: Any) -> Iterator[Any]:
    """Yield a configuration and those inside it."""
    yield config
    for value in vars(config).values():
        if hasattr(value, "to_json_string"):
            yield from tree(value)


def _take_over(net: Any, config: Any) -> None:
    """Let the network have the changed settings, and its modules the numbers that are made of them."""
    before = dict(described_by(net, net.config).named_modules())
    after = dict(described_by(net, config).named_modules())
    for holder, changed in zip(tree(net.config), tree(config), strict=True):
        vars(holder).update(_plain(vars(changed)))
    for name, module in net.named_modules():
        old, new = before.get(name), after.get(name)
        if old is None or new is None or not type(old) is type(new) is type(module):
            continue
        changed = {key: value for key, value in _numbers(new).items() if _numbers(old).get(key) != value}
        vars(module).update(
            {key: value for key, value in changed.items() if vars(module).get(key) == _numbers(old).get(key)}
        )
        if hasattr(vars(module).get("config"), "to_json_string"):
            vars(module.config).update(_plain(vars(new.config)))


def _numbers(module: nn.Module) -> dict[str, int]:
    return {key: value for key, value in vars(module).items() if type(value) is int}


def _plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What is not a configuration of its own, nor private."""
    return {key: value for key, value in settings.items() if key[0] != "_" and not hasattr(value, "to_json_string")}
