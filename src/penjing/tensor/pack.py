"""Small codes in few bytes: the layout of `MatMulNBits` (2, 4 and 8 bits), a dense one for any width on disk, and
32-bit words, as compressed-tensors stores them.
"""

from __future__ import annotations

import torch
from torch import Tensor

WORD_BITS = 32

SLOT_BITS = {2: 2, 3: 4, 4: 4, 8: 8}
"""Bits of the slot in which both engines read a code; 3-bit codes sit in 4-bit slots."""


def pack_slots(codes: Tensor, slot_bits: int) -> Tensor:
    """Pack codes (..., n) uint8 into bytes, the first code in the lowest bits: -> (..., n · slot_bits / 8) uint8."""
    per_byte = 8 // slot_bits
    parts = codes.reshape(*codes.shape[:-1], -1, per_byte).to(torch.int32)
    shifts = torch.arange(per_byte, dtype=torch.int32) * slot_bits
    return (parts << shifts).sum(-1).to(torch.uint8)


def unpack_slots(packed: Tensor, slot_bits: int) -> Tensor:
    """Undo `pack_slots`: (..., bytes) uint8 -> (..., bytes · 8 / slot_bits) uint8."""
    if slot_bits == 8:
        return packed
    shifts = torch.arange(8 // slot_bits, dtype=torch.int32) * slot_bits
    parts: Tensor = (packed.unsqueeze(-1).to(torch.int32) >> shifts) & (2**slot_bits - 1)
    return parts.flatten(-2).to(torch.uint8)


def pack_dense(codes: Tensor, bits: int) -> Tensor:
    """Pack any number of codes of 1 to 8 bits without gaps, lowest bit first: (...) uint8 -> (ceil(n · bits / 8),)."""
    flat = codes.reshape(-1)
    planes = (flat.unsqueeze(-1).to(torch.int32) >> torch.arange(bits, dtype=torch.int32)) & 1
    stream = torch.nn.functional.pad(planes.reshape(-1), (0, -(flat.numel() * bits) % 8)).reshape(-1, 8)
    return (stream << torch.arange(8, dtype=torch.int32)).sum(-1).to(torch.uint8)


def unpack_dense(packed: Tensor, bits: int, shape: tuple[int, ...]) -> Tensor:
    """Undo `pack_dense` into codes of the given shape, uint8."""
    count = 1
    for size in shape:
        count *= size
    stream = (packed.unsqueeze(-1).to(torch.int32) >> torch.arange(8, dtype=torch.int32)) & 1
    planes = stream.reshape(-1)[: count * bits].reshape(count, bits)
    return (planes << torch.arange(bits, dtype=torch.int32)).sum(-1).to(torch.uint8).reshape(shape)


def pack_words(codes: Tensor, bits: int) -> Tensor:
    """Pack each row of codes without gaps into 32-bit words, lowest bit first: `pack-quantized` of compressed-tensors.

    (rows, n) uint8 -> (rows, ceil(n · bits / 32)) int32. A row starts at a word of its own.
    """
    rows, count = codes.shape
    padded = torch.nn.functional.pad(codes, (0, -count % WORD_BITS))  # as many words as bits for every 32 codes
    packed = pack_dense(padded, bits) if bits == 3 else pack_slots(padded, bits) if bits < 8 else padded
    words = packed.reshape(rows, -1).contiguous().view(torch.int32)
    return words[:, : -(-count * bits // WORD_BITS)].contiguous()


def unpack_words(words: Tensor, bits: int, count: int) -> Tensor:
    """Undo `pack_words`: (rows, words) int32 -> (rows, count) uint8."""
    rows = words.shape[0]
    padded = torch.nn.functional.pad(words, (0, -words.shape[1] % bits)).contiguous().view(torch.uint8)
    if bits == 3:
        return unpack_dense(padded.reshape(-1), bits, (rows, padded.shape[1] * 8 // bits))[:, :count]
    return unpack_slots(padded, bits)[:, :count]
