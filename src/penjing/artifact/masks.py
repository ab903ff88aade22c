"""Masked layers in a checkpoint: a bitmap and the values that stay, where others have a value for every weight."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from penjing.layers.bitmap import masked_layers, spread, squeezed
from penjing.layers.described import DescribedLayer
from penjing.layers.masked import MASK, Masked, mask_of


def describe_mask(layer: DescribedLayer) -> dict[str, Any]:
    """What a checkpoint says of a layer of codes that carries a mask; a masked layer of floats always has one."""
    return {} if isinstance(layer, Masked) or mask_of(layer) is None else {"masked": True}


def expect_mask(layer: DescribedLayer, spec: Mapping[str, Any], first: nn.Module | None) -> None:
    """Give a blank layer that was described as masked a mask to be filled, that of the `first` if it is tied to one."""
    if isinstance(layer, Masked) and isinstance(first, Masked):
        layer.share(first)
    elif spec.get("masked"):
        weight: Any = layer.weight
        shared = None if first is None else mask_of(first)
        layer.register_buffer(MASK, torch.ones(weight.shape, dtype=torch.bool) if shared is None else shared)


def pack_masked(net: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Replace the tensors of masked layers by what is stored of them; of layers that are tied the first has them."""
    for name, layer in masked_layers(net).items():
        if f"{name}.{MASK}" in tensors:
            tensors.update({f"{name}.{part}": tensor for part, tensor in squeezed(layer).items()})


def unpack_masked(net: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Undo `pack_masked`."""
    for name, layer in masked_layers(net).items():
        if f"{name}.{MASK}" not in tensors:
            continue
        own = {part: tensors[f"{name}.{part}"] for part in layer.state_dict()}
        tensors.update({f"{name}.{part}": tensor for part, tensor in spread(layer, own).items()})
