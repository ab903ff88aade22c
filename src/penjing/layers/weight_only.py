"""Layers with integer weights and float activations: linear, embedding, convolution.

Linear and embedding share one layout, that of `MatMulNBits`: codes (out, groups, bytes) uint8 with float scales, so
that an output head tied to its embedding is one table in memory and on disk.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Any, Self

import torch
from torch import Tensor, nn

from penjing.layers.described import DescribedLayer, Description
from penjing.layers.geometry import Geometry, convolution, resemble
from penjing.layers.learned import LearnedGrid
from penjing.layers.lower import INT8_ACTIVATIONS, dequantize, matmul_nbits
from penjing.tensor.grid import Codes, to_groups
from penjing.tensor.pack import SLOT_BITS, pack_slots, unpack_slots

LARGEST_BLOCK = 128
SMALLEST_BLOCK = 16


def block_of(width: int, group: int) -> int:
    """The power-of-two block in which the engines read rows of this width.

    A group that is one serves as its own block. A whole channel is cut into the largest block that divides it, its
    scale repeated, because the engines read no block as long as a channel.
    """
    if group:
        return group
    block = LARGEST_BLOCK
    while width % block and block > SMALLEST_BLOCK:
        block //= 2
    return block


class IntTable(nn.Module):
    """Integer codes of a matrix (rows, width) in the engines' layout; what linear and embedding layers share."""

    packed: Tensor
    scales: Tensor
    zeros: Tensor | None

    def __init__(self, rows: int, width: int, bits: int, group: int, symmetric: bool) -> None:
        super().__init__()
        self.rows, self.width, self.bits, self.group, self.symmetric = rows, width, bits, group, symmetric
        self.slot_bits = SLOT_BITS[bits]
        self.block = block_of(width, group)
        groups = math.ceil(width / self.block)
        self.register_buffer("packed", torch.zeros(rows, groups, self.block * self.slot_bits // 8, dtype=torch.uint8))
        self.register_buffer("scales", torch.ones(rows, groups))
        zero_bytes = math.ceil(groups * self.slot_bits / 8)
        self.register_buffer("zeros", None if symmetric else torch.zeros(rows, zero_bytes, dtype=torch.uint8))
        self.learned: LearnedGrid | None = None
        self._dense: Tensor | None = None

    def describe(self) -> dict[str, Any]:
        """What its constructor takes, and blocks that were refined since."""
        refined = {} if self.block == block_of(self.width, self.group) else {"block": self.block}
        return {key: getattr(self, key) for key in ("rows", "width", "bits", "group", "symmetric")} | refined

    @classmethod
    def blank(cls, spec: Description) -> Self:
        """An empty table of this shape."""
        table = cls(spec["rows"], spec["width"], spec["bits"], spec["group"], spec["symmetric"])
        table.refine(spec.get("block", table.block))
        return table

    def refine(self, block: int) -> None:
        """Cut the blocks in which engines read a whole channel into smaller ones; what the codes stand for stays.

        ONNX Runtime rounds activations block by block, so that smaller ones round less. They cost a scale each.
        Groups stay what they are, as do blocks that are no larger.
        """
        if self.group or block >= self.block:
            return
        times = self.block // block
        if self.zeros is not None:
            zeros = unpack_slots(self.zeros, self.slot_bits)[:, : self.scales.shape[1]].repeat_interleave(times, 1)
            padded = nn.functional.pad(zeros, (0, -zeros.shape[1] % (8 // self.slot_bits)))
            self.zeros = pack_slots(padded, self.slot_bits)
        self.packed = self.packed.reshape(self.rows, self.packed.shape[1] * times, -1)
        self.scales = self.scales.repeat_interleave(times, 1)
        self.block = block

    @property
    def shift(self) -> int:
        """What is added to codes of a narrow symmetric grid so that its zero is the slot's own."""
        return 2 ** (self.slot_bits - 1) - 2 ** (self.bits - 1) if self.symmetric else 0

    def store(self, found: Codes) -> None:
        """Take the codes that a method chose, in its groups, into the engines' blocks."""
        rows, _, group = found.codes.shape
        repeats = max(1, group // self.block) if not self.group else 1
        scales, zeros = (part.repeat_interleave(repeats, 1) for part in (found.scales, found.zeros))
        codes = found.codes.reshape(rows, -1) + self.shift
        padding = self.packed.shape[1] * self.block - codes.shape[1]
        codes = nn.functional.pad(codes, (0, padding), value=2 ** (self.slot_bits - 1))
        if scales.shape[1] < self.packed.shape[1]:  # a channel whose width no block divides
            scales, zeros = (part[:, :1].expand(-1, self.packed.shape[1]) for part in (scales, zeros))
        self.packed.copy_(pack_slots(codes.reshape(rows, -1, self.block), self.slot_bits))
        self.scales.copy_(scales)
        if self.zeros is not None:
            padded = nn.functional.pad(zeros.to(torch.uint8), (0, -zeros.shape[1] % (8 // self.slot_bits)))
            self.zeros.copy_(pack_slots(padded, self.slot_bits))
        self.release()

    def zero_points(self) -> Tensor:
        """Zero points (rows, groups) float32."""
        if self.zeros is None:
            return torch.full_like(self.scales, 2 ** (self.slot_bits - 1))
        return unpack_slots(self.zeros, self.slot_bits)[:, : self.scales.shape[1]].float()

    def dense(self) -> Tensor:
        """The weights the codes stand for, (rows, width) float32; kept, because calibration asks again and again."""
        if self.learned is not None:
            learned: Tensor = self.learned()
            return learned.flatten(1)[:, : self.width]
        if self._dense is None:
            codes = unpack_slots(self.packed, self.slot_bits)
            self._dense = Codes(codes, self.scales, self.zero_points()).dequantize(self.width)
        return self._dense

    def learn(self, rounds: bool, mask: Tensor | None = None) -> LearnedGrid:
        """Let a learned grid stand in for the codes until `settle`; a mask (rows, width) is kept."""
        repeats = 1 if self.group else self.scales.shape[1]
        zeros = torch.full_like(self.scales, 2 ** (self.bits - 1)) if self.symmetric else self.zero_points()
        scales, zeros = (part[:, ::repeats].unsqueeze(-1) for part in (self.scales, zeros))
        learned = LearnedGrid(to_groups(self.dense(), self.group), scales, zeros, 2**self.bits - 1, rounds)
        if mask is not None:
            learned.hide(to_groups(mask.float(), self.group).bool())
        self.release()
        self.learned = learned
        return learned

    def settle(self) -> None:
        """Take the codes that were learned."""
        assert self.learned is not None
        codes, scales = self.learned.settled()
        zeros = self.learned.zeros
        self.learned = None
        self.store(Codes(codes.to(torch.uint8), scales.squeeze(-1), zeros.squeeze(-1)))

    def release(self) -> None:
        """Forget the float weights until they are asked for again."""
        self._dense = None

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        self.release()
        super()._load_from_state_dict(*args, **kwargs)

    @property
    def size_bytes(self) -> int:
        """Bytes of codes, scales and zero points as stored for the engines."""
        parts = [self.packed, self.scales] + ([] if self.zeros is None else [self.zeros])
        return sum(part.numel() * part.element_size() for part in parts)


def release_floats(net: nn.Module) -> None:
    """Forget the float weights that the codes of a network were turned into; the next call computes them anew."""
    for module in net.modules():
        if isinstance(module, IntTable):
            module.release()


@contextlib.contextmanager
def floats_of_one_layer(net: nn.Module) -> Iterator[None]:
    """While open, every layer of codes forgets its float weights after each call: memory holds those of one layer.

    For a network that is called once or twice; one that generates tokens would compute them anew for each.
    """
    with contextlib.ExitStack() as hooks:
        for module in net.modules():
            if isinstance(module, (IntLinear, IntEmbedding)):
                hook = module.register_forward_hook(lambda layer, inputs, output: layer.table.release())
                hooks.callback(hook.remove)
        yield


class IntLinear(DescribedLayer):
    """y = x Ŵᵀ + b with Ŵ from integer codes. x (..., in) -> (..., out).

    `accuracy_level` is that of `MatMulNBits` in its graph: 4 lets ONNX Runtime round x to int8, 0 does not. It belongs
    to the place and not to the table, which a head may share with its embedding.
    """

    def __init__(self, table: IntTable, bias: Tensor | None, accuracy_level: int = INT8_ACTIVATIONS) -> None:
        super().__init__()
        self.table, self.accuracy_level = table, accuracy_level
        self.bias = None if bias is None else nn.Parameter(bias.detach().clone(), requires_grad=False)
        self.in_features, self.out_features = table.width, table.rows

    def describe(self) -> dict[str, Any]:
        """Its table, whether a bias is added, and an accuracy level other than the usual one."""
        level = {} if self.accuracy_level == INT8_ACTIVATIONS else {"accuracy_level": self.accuracy_level}
        return {**self.table.describe(), "bias": self.bias is not None, **level}

    @classmethod
    def blank(cls, spec: Description, original: nn.Module | None) -> Self:
        """An empty layer of this shape."""
        table = IntTable.blank(spec)
        bias = torch.zeros(table.rows) if spec["bias"] else None
        return cls(table, bias, spec.get("accuracy_level", INT8_ACTIVATIONS))

    @property
    def weight(self) -> Tensor:
        """The dequantized weights (out, in)."""
        return self.table.dense()

    def forward(self, values: Tensor) -> Tensor:
        """Apply the layer; while exporting, emit its own codes."""
        if not torch.onnx.is_in_onnx_export():
            return nn.functional.linear(values, self.weight, self.bias)
        table = self.table
        product = matmul_nbits(values, table.packed, table.scales, table.zeros, table.block, self.accuracy_level)
        return product if self.bias is None else product + self.bias


class IntEmbedding(DescribedLayer):
    """Rows of a table of integer codes. ids (...) -> (..., width). `row_scale` is what the original multiplied by."""

    def __init__(self, table: IntTable, row_scale: float = 1.0, padding_idx: int | None = None) -> None:
        super().__init__()
        self.table = table
        self.row_scale = row_scale
        self.padding_idx = padding_idx  # transformers models read it to build masks and positions
        self.num_embeddings, self.embedding_dim = table.rows, table.width

    def describe(self) -> dict[str, Any]:
        """Its table, and what it does besides looking up."""
        return {**self.table.describe(), "row_scale": self.row_scale, "padding_idx": self.padding_idx}

    @classmethod
    def blank(cls, spec: Description, original: nn.Module | None) -> Self:
        """An empty layer of this shape."""
        return cls(IntTable.blank(spec), spec["row_scale"], spec["padding_idx"])

    @property
    def weight(self) -> Tensor:
        """The dequantized table (rows, width)."""
        return self.table.dense()

    def forward(self, ids: Tensor) -> Tensor:
        """Look rows up and dequantize only these, in the reference as in the graph."""
        table = self.table
        if table.learned is not None:
            return nn.functional.embedding(ids, table.dense()) * self.row_scale
        codes = nn.functional.embedding(ids, table.packed.flatten(1)).float()
        codes = _split_slots(codes, table.slot_bits).reshape(*ids.shape, table.scales.shape[1], table.block)
        scales = nn.functional.embedding(ids, table.scales).unsqueeze(-1)
        if table.zeros is None:
            rows: Tensor = (codes - 2.0 ** (table.slot_bits - 1)) * scales
        else:
            zeros = _split_slots(nn.functional.embedding(ids, table.zeros).float(), table.slot_bits)
            rows = (codes - zeros[..., : table.scales.shape[1]].unsqueeze(-1)) * scales
        return rows.flatten(-2)[..., : table.width] * self.row_scale


def _split_slots(packed: Tensor, slot_bits: int) -> Tensor:
    """Unpack bytes held in floats with plain arithmetic, which every engine has: (..., bytes) -> (..., codes)."""
    parts = []
    for _ in range(8 // slot_bits - 1):
        above = torch.floor(packed / 2**slot_bits)
        parts.append(packed - above * 2**slot_bits)
        packed = above
    return torch.stack([*parts, packed], -1).flatten(-2) if parts else packed


class IntConv(DescribedLayer):
    """A convolution with integer weights, one byte a code, dequantized per output channel before it runs."""

    codes: Tensor
    scales: Tensor
    zeros: Tensor

    def __init__(self, like: nn.Conv1d | nn.Conv2d, bits: int) -> None:
        super().__init__()
        self.bits = bits
        self.shape = tuple(like.weight.shape)
        self.geometry = Geometry(like)
        resemble(self, like)
        self.register_buffer("codes", torch.zeros(self.shape, dtype=torch.int8))
        self.register_buffer("scales", torch.ones(self.shape[0]))
        self.register_buffer("zeros", torch.zeros(self.shape[0], dtype=torch.int8))
        self.bias = None if like.bias is None else nn.Parameter(like.bias.detach().clone(), requires_grad=False)
        self.learned: LearnedGrid | None = None

    def describe(self) -> dict[str, Any]:
        """Its bits; the rest is the original's."""
        return {"bits": self.bits}

    @classmethod
    def blank(cls, spec: Description, original: nn.Module | None) -> Self:
        """An empty layer like the original."""
        return cls(convolution(original), spec["bits"])

    def store(self, found: Codes) -> None:
        """Take per-channel codes (out, 1, in · kernel), moved from unsigned to the signed bytes of the graph."""
        half = 2 ** (self.bits - 1)
        self.codes.copy_((found.codes.to(torch.int16) - half).reshape(self.shape))
        self.scales.copy_(found.scales[:, 0])
        self.zeros.copy_(found.zeros[:, 0] - half)

    def learn(self, rounds: bool, mask: Tensor | None = None) -> LearnedGrid:
        """Let a learned grid stand in for the codes until `settle`; a mask of the kernel's shape is kept."""
        zeros = self.zeros.float() + 2 ** (self.bits - 1)
        learned = LearnedGrid(self.weight.flatten(1), self.scales[:, None], zeros[:, None], 2**self.bits - 1, rounds)
        if mask is not None:
            learned.hide(mask)
        self.learned = learned
        return learned

    def settle(self) -> None:
        """Take the codes that were learned."""
        assert self.learned is not None
        codes, scales = self.learned.settled()
        zeros = self.learned.zeros
        self.learned = None
        self.store(Codes(codes[:, None].to(torch.uint8), scales, zeros))

    @property
    def weight(self) -> Tensor:
        """The dequantized kernel."""
        if self.learned is not None:
            learned: Tensor = self.learned()
            return learned.view(self.shape)
        column = (-1, *[1] * (len(self.shape) - 1))
        return (self.codes.float() - self.zeros.float().view(column)) * self.scales.view(column)

    @property
    def size_bytes(self) -> int:
        """Bytes of codes, scales and zero points."""
        return self.codes.numel() + 4 * self.scales.numel() + self.zeros.numel()

    def forward(self, values: Tensor) -> Tensor:
        """Convolve; while exporting, emit the codes behind a DequantizeLinear."""
        exporting = torch.onnx.is_in_onnx_export()
        weight = dequantize(self.codes, self.scales, self.zeros, axis=0) if exporting else self.weight
        return self.geometry.convolve(values, weight, self.bias)
