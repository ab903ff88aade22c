"""A graph of every kind of compressed layer, exported; run as a program, in a process of its own.

python exported_racks.py FOLDER: writes FOLDER/layers.onnx
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import nn

from penjing.artifact.export import export_component
from penjing.layers.half import store_half
from penjing.layers.static import StaticLinear
from penjing.layers.weight_only import IntConv, IntEmbedding, IntLinear, IntTable
from penjing.models.family import Component
from penjing.tensor.grid import quantize, quantize_pair_safe


class Layers(nn.Module):
    """Words and places in, through every kind of layer, words out."""

    def __init__(self) -> None:
        super().__init__()
        table = IntTable(50, 64, 8, 0, True)
        table.store(quantize(torch.randn(50, 64), 8))
        self.words, self.head = IntEmbedding(table), IntLinear(table, None)
        self.places = nn.Embedding(50, 64)
        store_half(self.places)
        narrow = IntTable(64, 64, 4, 32, False)
        narrow.store(quantize(torch.randn(64, 64), 4, 32, symmetric=False))
        self.narrow = IntLinear(narrow, torch.randn(64))
        conv = nn.Conv1d(64, 64, 3, padding=1)
        self.conv = IntConv(conv, 8)
        self.conv.store(quantize(conv.weight.flatten(1), 8))
        self.static = StaticLinear(64, 64, torch.randn(64), top=127)
        codes, scales = quantize_pair_safe(torch.randn(64, 64))
        self.static.codes.copy_(codes.T)
        self.static.scales.copy_(scales)
        self.static.input.cover(-3.0, 4.0)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        hidden = self.words(ids) + self.places(ids)
        hidden = self.static(torch.tanh(self.narrow(hidden)))
        hidden = self.conv(hidden.transpose(1, 2)).transpose(1, 2)
        return self.head(hidden)


def write(folder: Path) -> Path:
    """Export a seeded one."""
    torch.manual_seed(0)
    ids = torch.randint(0, 50, (2, 9))
    axes = {"ids": {0: "batch", 1: "tokens"}}
    return export_component(Component("layers", Layers().eval(), {"ids": ids}, ("logits",), axes), folder)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
