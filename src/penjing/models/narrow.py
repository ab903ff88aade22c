"""Take units of inner channels away, in the very layers of a network, and prove that the block computes the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from penjing.models.inner import UNREAD, Inner, is_depthwise
from penjing.models.outputs import flat_output
from penjing.models.tower import is_transposed
from penjing.tensor.grid import relative_error

SAME = 1e-3
"""Relative difference that float32 rounding explains."""
MISSED = "its block does not run with fewer of them"
OUTPUTS = ("out_features", "out_channels", "num_features", "num_channels", "nf")
INPUTS = ("in_features", "in_channels", "nx")
Undo = Callable[[], object]


@torch.no_grad()
def narrow(inner: Inner, keep: Tensor, parents: list[nn.Module], run: Callable[[], Any]) -> str:
    """Take the units away that `keep` (bool, (units,)) does not name; say why not where that cannot be.

    `parents` are the modules above the reader inside its block, `run` runs the block once. What the narrow block gives
    must be what the whole one gives with the reader blind to these units; otherwise everything is as it was. A block
    may count heads and widths in attributes of its own: they follow where the proof asks for it.
    """
    wanted = _blinded(inner, keep, run)
    share = int(keep.sum()), len(keep)
    for attributes in ("heads", "widths", "nothing") if inner.kind == "heads" else ("nothing", "widths"):
        undo = [*_cut(inner, keep), *_count(inner, parents, share, attributes)]
        try:
            if relative_error(wanted, flat_output(run())) < SAME:
                return ""
        except (RuntimeError, ValueError, IndexError):
            pass
        for step in reversed(undo):
            step()
    return MISSED


def narrow_shapes(inner: Inner, kept: int) -> dict[str, tuple[int, ...]]:
    """Shapes of the tensors of makers and reader, by name, once so many units are left."""
    found = {}
    for maker, units in inner.makers:
        left = len(units) // inner.count * kept
        found[f"{maker.name}.weight"] = _shape(maker.module, left, maker.weight.shape[1])
        if maker.bias is not None:
            found[f"{maker.name}.bias"] = (left,)
    left = len(inner.read) // inner.count * kept
    found[f"{inner.reader.name}.weight"] = _shape(inner.reader.module, inner.reader.weight.shape[0], left)
    return found


def _shape(module: nn.Module, outputs: int, inputs: int) -> tuple[int, ...]:
    first = (inputs, outputs) if is_transposed(module) else (outputs, inputs)
    return first + tuple(_weight(module).shape[2:])


def _blinded(inner: Inner, keep: Tensor, run: Callable[[], Any]) -> Tensor:
    """What the block gives when its reader multiplies the other units by zero."""
    weight = _weight(inner.reader.module)
    kept = weight.clone()
    _by_input(inner.reader.module)[~inner.channels(keep)] = 0
    try:
        return flat_output(run())
    finally:
        weight.copy_(kept)


def _cut(inner: Inner, keep: Tensor) -> Iterator[Undo]:
    """Slice makers, followers and reader."""
    layers = [(maker.module, units) for maker, units in inner.makers] + [*inner.followers]
    for module, units in layers:
        stays = keep[units.clamp_min(0)] | (units == UNREAD)
        yield from _slice_outputs(module, stays)
        if isinstance(module, nn.GroupNorm):
            groups = module.num_groups * int(stays.sum()) // len(stays)
            yield from _set(module, ("num_groups",), groups)
    yield from _slice_inputs(inner.reader.module, inner.channels(keep))


def _slice_outputs(module: nn.Module, stays: Tensor) -> Iterator[Undo]:
    """Keep some output channels of a layer; every tensor as long as the channels is one per channel."""
    turned = is_transposed(module)
    for name, values in [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]:
        if values.dim() and values.shape[1 if turned and values.dim() > 1 else 0] == len(stays):
            sliced = values[:, stays] if turned and values.dim() > 1 else values[stays]
            yield _put(module, name, sliced)
    names = OUTPUTS if not is_depthwise(module) else (*OUTPUTS, "in_channels", "groups")
    yield from _set(module, names, int(stays.sum()))


def _slice_inputs(module: nn.Module, stays: Tensor) -> Iterator[Undo]:
    for name in ("weight", "mask"):
        values = getattr(module, name, None)
        if isinstance(values, Tensor):
            yield _put(module, name, values[stays] if is_transposed(module) else values[:, stays])
    yield from _set(module, INPUTS, int(stays.sum()))


def _count(inner: Inner, parents: list[nn.Module], share: tuple[int, int], attributes: str) -> Iterator[Undo]:
    """Scale the numbers by which modules above the reader count heads, or heads and widths."""
    kept, count = share
    widths = {len(inner.read), *(len(units) for _, units in inner.makers)}
    for module in parents if attributes != "nothing" else ():
        for name, value in [*vars(module).items()]:
            if type(value) is not int or value % count:
                continue
            counts_heads = "heads" in name and inner.kind == "heads"
            if counts_heads or (attributes == "widths" and value in widths):
                yield from _set(module, (name,), value // count * kept)


def _put(module: nn.Module, name: str, values: Tensor) -> Undo:
    """Put other values in the place of a parameter or a buffer."""
    before = getattr(module, name)
    made = values.clone().contiguous()
    setattr(module, name, nn.Parameter(made, before.requires_grad) if isinstance(before, nn.Parameter) else made)
    return partial(setattr, module, name, before)


def _set(module: nn.Module, names: tuple[str, ...], value: int) -> Iterator[Undo]:
    for name in names:
        if name in vars(module):
            before = vars(module)[name]
            setattr(module, name, value)
            yield partial(setattr, module, name, before)


def _weight(module: nn.Module) -> Tensor:
    assert isinstance(module.weight, Tensor)
    return module.weight


def _by_input(module: nn.Module) -> Tensor:
    """A view of the weight with its input channels first."""
    return _weight(module) if is_transposed(module) else _weight(module).transpose(0, 1)
