"""Any transformers architecture: towers from its configs and modules, weight-only compression, checkpoint format.

It knows no model by name. What it cannot know (a graph to export, a front end without transformers) a family file adds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from penjing.data.row import Row
from penjing.errors import DataError
from penjing.models.family import Component
from penjing.models.front_ends import checkpoint_tokenizer, has_tokenizer
from penjing.models.inputs import probe_inputs
from penjing.models.shares import divide
from penjing.models.tower import Batch, Tower

LONGEST_TEXT = 512


class Generic:
    """The family of last resort; it matches everything."""

    name = "generic"
    task: str | None = None

    def matches(self, config: Any) -> bool:
        """Return True: this is the last family asked."""
        return True

    def towers(self, net: nn.Module) -> list[Tower]:
        """Divide the network by its sub-configs, its encoder and decoder, and its module tree."""
        return divide(net)

    def components(self, net: nn.Module) -> list[Component]:
        """Return nothing: an unknown architecture has no ONNX route, it is saved as a checkpoint."""
        return []

    def settings(self, net: nn.Module, folder: Path | None) -> dict[str, Any]:
        """Return nothing: no runtime of the shop runs it."""
        return {}

    def batches(self, settings: Mapping[str, Any], folder: Path, rows: Iterable[Row]) -> Iterator[Batch]:
        """Tokenize the text of each row; other media need a family that knows their front end."""
        if not has_tokenizer(folder):
            raise DataError(
                "this architecture has no data front end: its folder holds no tokenizer",
                hint="compress without data (rtn needs none), or add a family",
            )

        tokenizer = checkpoint_tokenizer(folder)
        tokenizer.no_truncation()  # whoever saved it may have cut and padded last
        tokenizer.no_padding()
        for row in rows:
            if not row.fields.get("text"):
                raise DataError(f"row {row.id} has no text", hint="this architecture is fed with a column `text`")
            ids = tokenizer.encode(row.fields["text"]).ids[:LONGEST_TEXT]
            tokens = torch.tensor([ids], dtype=torch.int64)
            yield {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}

    def probe(self, net: nn.Module, seed: int) -> Batch:
        """Build synthetic inputs from the forward's signature and the config's sizes."""
        return probe_inputs(net, seed)
