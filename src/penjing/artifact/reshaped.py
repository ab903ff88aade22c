"""Layers that are smaller than their configuration says: written beside the weights, so that a checkpoint opens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from penjing.layers.described import DescribedLayer
from penjing.layers.geometry import READ_BY_MODELS
from penjing.layers.masked import Masked
from penjing.models.expressible import described_by

Reshaped = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""Name of a module -> `shapes` of its own tensors and `numbers` that it counts by."""


def reshaped(net: Any) -> dict[str, dict[str, dict[str, Any]]]:
    """What of a network's layers its configuration does not say; nothing of a network without one."""
    if not hasattr(net, "config"):
        return {}
    places = dict(net.named_modules(remove_duplicate=False))
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for name, blank in described_by(net, net.config).named_modules(remove_duplicate=False):
        module = places.get(name)
        if module is None:
            continue
        shapes = {key: list(shape) for key, shape in _shapes(module).items() if key in _shapes(blank)}
        shapes = {key: shape for key, shape in shapes.items() if shape != list(_shapes(blank)[key])}
        numbers = {key: value for key, value in _numbers(module, blank).items() if vars(blank).get(key) != value}
        if shapes or numbers:
            found[name] = {"shapes": shapes, "numbers": numbers}
    return found


def reshape(net: nn.Module, found: Reshaped) -> None:
    """Give the layers of a blank network these shapes. Raises ValueError for one that is not smaller."""
    for name, change in found.items():
        module = net.get_submodule(name)
        for key, shape in change["shapes"].items():
            before = getattr(module, key)
            if len(shape) != before.dim() or any(new > old for new, old in zip(shape, before.shape, strict=True)):
                raise ValueError(f"{name}.{key} cannot have the shape {shape}")
            empty = torch.zeros(shape, dtype=before.dtype)
            setattr(module, key, nn.Parameter(empty, False) if isinstance(before, nn.Parameter) else empty)
        for key, value in change["numbers"].items():
            if type(vars(module).get(key)) is not int or type(value) is not int:
                raise ValueError(f"{name}.{key} cannot be {value!r}")
            setattr(module, key, value)


def _shapes(module: nn.Module) -> dict[str, tuple[int, ...]]:
    """Shapes of a module's own tensors; a compressed convolution says that of the kernel it stands for."""
    if isinstance(module, DescribedLayer) and not isinstance(module, Masked):
        kernel = getattr(module, "shape", None)
        return {} if kernel is None else {"weight": tuple(kernel), **_bias(module)}
    own: dict[str, Tensor] = {
        **dict(module.named_parameters(recurse=False)),
        **dict(module.named_buffers(recurse=False)),
    }
    return {key: tuple(values.shape) for key, values in own.items()}


def _bias(module: nn.Module) -> dict[str, tuple[int, ...]]:
    bias = getattr(module, "bias", None)
    return {"bias": tuple(bias.shape)} if isinstance(bias, Tensor) else {}


def _numbers(module: nn.Module, blank: nn.Module) -> dict[str, int]:
    """The whole numbers that a module has and a blank one has, too."""
    names = READ_BY_MODELS if isinstance(module, DescribedLayer) else vars(blank)
    own = {key: vars(module).get(key) for key in names if type(vars(blank).get(key)) is int}
    return {key: value for key, value in own.items() if type(value) is int}
