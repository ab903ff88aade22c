"""How masked layers are stored: one bit for every weight, and the values of those that stay, without gaps.

Floats take four bytes each, codes as many bits as their grid has. It is for checkpoints only: what runs is dense.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from penjing.layers.masked import MASK, Masked, mask_of
from penjing.layers.static import StaticConv, StaticLinear
from penjing.layers.weight_only import IntConv, IntEmbedding, IntLinear
from penjing.tensor.pack import pack_dense, pack_slots, unpack_dense, unpack_slots

TABLED = (IntLinear, IntEmbedding)
FLOAT_BITS = 32
CODE_BITS = 8


@dataclass(frozen=True, slots=True)
class Body:
    """The one tensor of a layer that has a value for every weight: its name below the layer, bits stored of a value."""

    name: str
    bits: int


def body_of(layer: nn.Module) -> Body:
    """The body of a masked layer."""
    if isinstance(layer, Masked):
        return Body("weight", FLOAT_BITS)
    if isinstance(layer, TABLED):
        return Body("table.packed", layer.table.bits)
    if isinstance(layer, (IntConv, StaticConv, StaticLinear)):
        return Body("codes", CODE_BITS)
    raise TypeError(f"{type(layer).__name__} cannot be masked")


def masked_layers(net: nn.Module) -> dict[str, nn.Module]:
    """Every layer below a network that carries a mask, by its name."""
    return {name: module for name, module in net.named_modules() if mask_of(module) is not None}


def bitmap_bytes(weights: int, kept: int, bits: int = FLOAT_BITS) -> int:
    """Bytes of so many weights of which so many stay, each with so many bits."""
    return -(-weights // 8) + -(-kept * bits // 8)


def stored_bytes(layer: nn.Module) -> int:
    """Bytes that the weights of a layer take in a checkpoint; of one without a mask what the layer says itself."""
    mask = mask_of(layer)
    if mask is None:
        holder: Any = getattr(layer, "table", layer)
        return int(holder.size_bytes)
    body, tensors = body_of(layer), layer.state_dict()
    rest = [tensor for name, tensor in tensors.items() if name not in (body.name, MASK, "bias")]
    beside: int = sum(tensor.numel() * tensor.element_size() for tensor in rest)
    return bitmap_bytes(mask.numel(), int(mask.sum()), body.bits) + beside


def squeezed(layer: nn.Module) -> dict[str, Tensor]:
    """Mask and body of a masked layer as they are stored, by their names below it."""
    mask, body = mask_of(layer), body_of(layer)
    assert mask is not None
    kept = _values(layer)[mask]
    if isinstance(layer, TABLED):
        kept = pack_dense(kept - layer.table.shift, body.bits)
    return {MASK: pack_dense(mask.to(torch.uint8), 1), body.name: kept.contiguous()}


def spread(layer: nn.Module, stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Undo `squeezed` on all tensors stored of a layer: those that the layer has, bit for bit."""
    mask, body = mask_of(layer), body_of(layer)
    assert mask is not None
    mask = unpack_dense(stored[MASK], 1, tuple(mask.shape)).bool()
    kept = stored[body.name]
    if isinstance(layer, TABLED):
        kept = unpack_dense(kept, body.bits, (int(mask.sum()),)) + layer.table.shift
        whole = _table(layer, mask, kept, stored)
    else:
        whole = torch.zeros(mask.shape, dtype=kept.dtype)
        if isinstance(layer, IntConv):
            whole += stored["zeros"].view(-1, *[1] * (mask.dim() - 1))
        whole[mask] = kept
        whole = whole.T.contiguous() if isinstance(layer, StaticLinear) else whole
    return {**stored, MASK: mask, body.name: whole}


def _values(layer: nn.Module) -> Tensor:
    """The body of a masked layer in the shape of its weight, codes as they sit in their slots."""
    if isinstance(layer, TABLED):
        return unpack_slots(layer.table.packed, layer.table.slot_bits).flatten(1)[:, : layer.table.width]
    body = layer.get_parameter("weight").detach() if isinstance(layer, Masked) else layer.get_buffer("codes")
    return body.T if isinstance(layer, StaticLinear) else body


def _table(layer: IntLinear | IntEmbedding, mask: Tensor, kept: Tensor, stored: Mapping[str, Tensor]) -> Tensor:
    """The packed codes of a table: zero points where the mask is false and behind the last input."""
    table = layer.table
    zeros = torch.full(table.scales.shape, 2 ** (table.slot_bits - 1), dtype=torch.uint8)
    if table.zeros is not None:
        zeros = unpack_slots(stored["table.zeros"], table.slot_bits)[:, : zeros.shape[1]].clone()
    slots = zeros.unsqueeze(-1).repeat(1, 1, table.block)
    rows = slots.flatten(1)
    if not table.group:  # where a block is part of a channel, `IntTable.store` fills it up with middles
        rows[:, table.width :] = 2 ** (table.slot_bits - 1)
    rows[:, : table.width][mask] = kept
    return pack_slots(rows.view(slots.shape), table.slot_bits)
