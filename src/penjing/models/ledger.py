"""Divide what a run costs among towers: a meter is read whenever control passes from one tower's modules to another's.

The meter is any function that only grows: a clock gives milliseconds, a counter gives operations.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from torch import nn

from penjing.models.tower import Tower


def owners(net: nn.Module, towers: Sequence[Tower]) -> dict[str, str]:
    """Map the path of every module that holds something to the tower that owns most of what lies there.

    It goes by names, so it stays true after a method replaced the modules.
    """
    holders: dict[str, str] = {}
    for tower in towers:
        for name in tower.parameter_names:
            holders[name.rpartition(".")[0]] = tower.name
        for site in tower.sites.values():
            for place in (site, *site.tied):
                holders[place.name] = tower.name
    weight: dict[str, dict[str, int]] = {}
    for path, module in net.named_modules(remove_duplicate=False):
        owner = holders.get(path)
        count = sum(tensor.numel() for tensor in [*module.parameters(recurse=False), *module.buffers(recurse=False)])
        above = path
        while owner:
            share = weight.setdefault(above, {})
            share[owner] = share.get(owner, 0) + max(count, 1)
            if not above:
                break
            above = above.rpartition(".")[0]
    return {path: max(shares, key=shares.__getitem__) for path, shares in weight.items()}


def doors(net: nn.Module, towers: Sequence[Tower], owned: Mapping[str, str]) -> list[tuple[nn.Module, str]]:
    """List the modules at which control enters a tower: all but those inside a block that are the block owner's."""
    inside = {id(part) for tower in towers for block in tower.blocks for part in block.modules() if part is not block}
    return [
        (module, owned[path])
        for path, module in net.named_modules()
        if path in owned and (id(module) not in inside or owned.get(path.rpartition(".")[0]) != owned[path])
    ]


@contextlib.contextmanager
def ledger(entries: Sequence[tuple[nn.Module, str]], read: Callable[[], float]) -> Iterator[dict[str, float]]:
    """Collect per tower what the meter `read` shows while that tower runs, without what it called in other towers.

    `entries` are modules with the tower they belong to (`doors`).
    """
    spent: dict[str, float] = dict.fromkeys([tower for _, tower in entries], 0.0)
    running: list[str] = []
    last = 0.0

    def settle() -> None:
        nonlocal last
        now = read()
        if running:
            spent[running[-1]] += now - last
        last = now

    def enter(tower: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any) -> None:
            settle()
            running.append(tower)

        return hook

    def leave(module: nn.Module, args: Any, output: Any) -> None:
        settle()
        running.pop()

    with contextlib.ExitStack() as hooks:
        for module, tower in entries:
            hooks.callback(module.register_forward_pre_hook(enter(tower)).remove)
            hooks.callback(module.register_forward_hook(leave, always_call=True).remove)
        yield spent
