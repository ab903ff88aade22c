"""What a wide network says when channels are gone that a narrower one has not: the proof of the narrower one."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from penjing.models.attempt import attempt, reason_of
from penjing.models.family import Model
from penjing.models.narrow import SAME
from penjing.models.outputs import float_tensors
from penjing.models.resize import Resize
from penjing.models.streams import Stream
from penjing.models.tower import Batch
from penjing.tensor.grid import relative_error

UNLIKE = "the network that its settings describe computes something else"
"""Why a narrower network is refused that runs, and answers something else."""


@torch.no_grad()
def why_unproven(wide: Model, narrow: Model, resize: Resize, keep: Mapping[Stream, Tensor], batch: Batch) -> str:
    """Say why a narrow network is not proven to be the wide one without what is gone; empty where it is.

    Every tower of the narrow network has to give what the wide one's gives once it is blind to what is gone.

    Raises:
        ModelError: a tower of the wide network fails on inputs that it is made for.
    """
    with blinded(wide.net, narrow.net, resize, keep):
        expected = [[*float_tensors(attempt(wide, f"tower {one.name}", one.run, batch))] for one in wide.towers]
    answers = []
    for tower, tensors in zip(wide.towers, expected, strict=True):
        try:
            output = next(one for one in narrow.towers if one.name == tower.name).run(batch) if tensors else None
        except Exception as error:  # shapes that do not go together, wherever the narrow network meets them
            return f"the narrower tower {tower.name} fails: {reason_of(error)}"
        answers.append([*float_tensors(output)])
    if not any(expected) or [*map(len, expected)] != [*map(len, answers)]:
        return UNLIKE
    pairs = [pair for one, other in zip(expected, answers, strict=True) for pair in zip(one, other, strict=True)]
    is_proven = all(any(_is_part(one, other, stays) for stays in (None, *keep.values())) for one, other in pairs)
    return "" if is_proven else UNLIKE


@contextlib.contextmanager
def blinded(net: nn.Module, narrow: nn.Module, resize: Resize, keep: Mapping[Stream, Tensor]) -> Iterator[None]:
    """Let nothing write the units that are gone, nor any layer read them, while this is open.

    A norm takes the mean of its channels, so those of the wide network are computed by those of the narrow one, over
    the channels that stay.
    """
    whole = net.state_dict(keep_vars=True)
    tensors = {axis.tensor: whole[axis.tensor].detach() for axes in resize.axes.values() for axis in axes}
    kept = {name: values.clone() for name, values in tensors.items()}
    with contextlib.ExitStack() as stack:
        for stream, axes in resize.axes.items():
            for axis in axes:
                gone = ~keep[stream][resize.units(stream, axis)]
                tensors[axis.tensor].movedim(axis.axis, 0)[gone] = 0
                owner = axis.tensor.rpartition(".")[0]
                if axis.port.side == "own" and _is_norm(net.get_submodule(owner)):
                    through = partial(_by_narrow, narrow.get_submodule(owner), ~gone)
                    hook = net.get_submodule(owner).register_forward_hook(through)
                    stack.callback(hook.remove)
        try:
            yield
        finally:
            for name, values in tensors.items():
                values.copy_(kept[name])


def _is_norm(module: nn.Module) -> bool:
    """Whether a module weighs channels and holds nothing else."""
    own = {name for name, _ in module.named_parameters(recurse=False)}
    return not [*module.children()] and own <= {"weight", "bias"}


def _by_narrow(narrow: nn.Module, stays: Tensor, module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
    """What the narrow module gives of the channels that stay, in their places among zeros."""
    axis = next((place for place in (-1, 1) if args[0].shape[place] == len(stays)), -1)
    seen = args[0].index_select(axis, stays.nonzero()[:, 0])
    found = torch.zeros_like(output)
    found.movedim(axis, 0)[stays] = narrow(seen).movedim(axis, 0)
    return found


def _is_part(wide: Tensor, narrow: Tensor, stays: Tensor | None) -> bool:
    """Whether a narrow output is the wide one, or those channels (or heads) of it that stay."""
    if stays is not None:
        differ = [axis for axis, pair in enumerate(zip(wide.shape, narrow.shape, strict=True)) if pair[0] != pair[1]]
        if len(differ) != 1 or wide.shape[differ[0]] != len(stays):
            return False
        wide = wide.index_select(differ[0], stays.nonzero()[:, 0])
    return wide.shape == narrow.shape and relative_error(wide, narrow) <= SAME
