"""Make a configuration say what became of a network's shapes, proven by building the network that it describes."""

from __future__ import annotations

import copy
import operator
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn

from penjing.models.network import quiet

Shapes = Mapping[str, tuple[int, ...]]


class Change(NamedTuple):
    """A number that some setting held and the one it should hold by now; of layers, the places of those that stay."""

    old: int
    new: int
    places: tuple[int, ...] = ()


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
            kept = dict(vars(holder))
            rest = _tried(net, config, wanted) if _set(holder, change, key) else None
            if rest is not None and rest < left:
                left, progress = rest, True
            else:
                vars(holder).update(kept)
    return config, left


def _set(holder: Any, change: Change, key: str) -> bool:
    """Let a setting hold the new number, and lists of a value per layer the layers that stay."""
    try:
        for name, value in [*vars(holder).items()] if change.places else ():
            if isinstance(value, (list, tuple)) and len(value) == change.old:
                vars(holder)[name] = type(value)(value[place] for place in change.places)
        setattr(holder, key, change.new)
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


def _candidates(config: Any, changes: Sequence[Change]) -> Iterator[tuple[Any, Change, str]]:
    """Settings that hold one of the old numbers, or nothing."""
    for holder in _tree(config):
        for key, value in [*vars(holder).items()]:
            for change in changes:
                if value is None or (type(value) is int and value == change.old):
                    yield holder, change, key


def _tree(config: Any) -> Iterator[Any]:
    """A configuration and those inside it."""
    yield config
    for value in vars(config).values():
        if hasattr(value, "to_json_string"):
            yield from _tree(value)


def _take_over(net: Any, config: Any) -> None:
    """Let the network have the changed settings, and its modules the numbers that are made of them."""
    before = dict(described_by(net, net.config).named_modules())
    after = dict(described_by(net, config).named_modules())
    for holder, changed in zip(_tree(net.config), _tree(config), strict=True):
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
