"""Which layers of a block make its keys and its values: learned from a run, no model is known by name."""

from __future__ import annotations

import contextlib
from typing import Any

import torch
from torch import Tensor, nn

from penjing.calibrate.call import Call
from penjing.layers.merging import pooled_inputs
from penjing.layers.overheard import Overheard
from penjing.tensor.grid import relative_error

ROW_DIMENSIONS = 3
WIDTH = 2
"""Neighbours that are pooled for the proof."""
CLOSE = 0.1
"""Relative difference that the rounding of int8 inputs explains; keys of other tokens differ by all they are."""


def key_makers(block: nn.Module, call: Call) -> tuple[str, str] | str:
    """Names in the block of the layers whose outputs are its keys and values as they are; or why there are none.

    Proven on the block: with means of neighbours for these two, it runs on as many queries and looks at means of keys.
    """
    outputs: dict[str, Tensor] = {}
    with contextlib.ExitStack() as hooks:
        for name, module in block.named_modules():
            hooks.callback(module.register_forward_hook(_kept(outputs, name)).remove)
        with Overheard() as whole:
            call.on(block)
    names = _giving(outputs, whole.keys), _giving(outputs, whole.values)
    if not all(names):
        return "no layers give the keys and the values of its attention as they are"
    makers = [block.get_submodule(name) for name in names]
    hidden: Tensor = call.args[0]
    try:
        with pooled_inputs(makers, WIDTH), Overheard() as fewer:
            given = call.on(block)
    except (RuntimeError, ValueError, IndexError):
        return "its attention needs as many keys as queries"
    output = given[0] if isinstance(given, tuple) else given
    if output.shape != hidden.shape or not _are_means(fewer.keys, whole.keys):
        return "its attention needs as many keys as queries"
    return names


def _kept(outputs: dict[str, Tensor], name: str) -> Any:
    def keep(module: nn.Module, args: Any, output: Any) -> None:
        if isinstance(output, Tensor) and output.dim() == ROW_DIMENSIONS:
            outputs[name] = output

    return keep


def _giving(outputs: dict[str, Tensor], heads: Tensor | None) -> str:
    """The layer whose output (batch, n, heads * d) is this, (batch, heads, n, d), parted into heads; empty if none."""
    if heads is None:
        return ""
    flat = heads.transpose(1, 2).flatten(2)
    return next((name for name, one in outputs.items() if one.shape == flat.shape and torch.equal(one, flat)), "")


def _are_means(fewer: Tensor | None, whole: Tensor | None) -> bool:
    """Whether keys (batch, heads, ⌈n / 2⌉, d) are means of neighbours of (batch, heads, n, d)."""
    if fewer is None or whole is None:
        return False
    groups = torch.split(whole, WIDTH, 2)
    means = torch.stack([group.mean(2) for group in groups], 2)
    return means.shape == fewer.shape and relative_error(means, fewer) < CLOSE
