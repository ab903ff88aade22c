"""Encoders of texts (BERT, MiniLM, RoBERTa, DistilBERT, MPNet): one graph from tokens to a vector for each token.

The graph is the one that transformers.js reads (`model.onnx`, `last_hidden_state`); pooling happens outside of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from penjing.data.row import Row
from penjing.models.capture import call, run_until
from penjing.models.families.encoder_settings import encoder_settings
from penjing.models.families.text_graphs import TEXT_TYPES, text_component
from penjing.models.family import Component
from penjing.models.front_ends import read_rows
from penjing.models.inputs import probe_inputs
from penjing.models.shares import divide
from penjing.models.tower import Batch, Tower

HIDDEN = "last_hidden_state"
UNREAD = "pooler"
"""A layer that only next-sentence prediction reads; the graph does not hold it, so it is no part of the encoder."""


class Encoder:
    """The family: texts in, vectors out."""

    name = "encoder"
    task: str | None = "encoder"

    def matches(self, config: Any) -> bool:
        """Return whether this is an encoder without a head."""
        names = config.architectures or ["Model"]
        headless = str(names[0]).endswith("Model") and not getattr(config, "is_decoder", False)
        return config.model_type in TEXT_TYPES and headless

    def towers(self, net: nn.Module) -> list[Tower]:
        """The encoder, the pooler where it brings one, and the table of words."""
        found = [_divided(net, tower) if tower.role == "encoder" else [tower] for tower in divide(net)]
        return [tower for towers in found for tower in towers]

    def components(self, net: Any) -> list[Component]:
        """The one graph."""
        return [text_component(net, HIDDEN)]

    def settings(self, net: Any, folder: Path | None) -> dict[str, Any]:
        """Front end, pooling, width; see `encoder_settings`."""
        return encoder_settings(net, folder)

    def batches(self, settings: Mapping[str, Any], folder: Path, rows: Iterable[Row]) -> Iterator[Batch]:
        """The text of each row."""
        yield from read_rows(settings["text"], folder, rows, lambda row: row.fields["text"])

    def probe(self, net: nn.Module, seed: int) -> Batch:
        """Arbitrary words."""
        return probe_inputs(net, seed)


def _divided(net: nn.Module, tower: Tower) -> list[Tower]:
    """The tower as its graph has it, and apart from it what only a head would read."""
    body = {name: site for name, site in tower.sites.items() if not name.startswith(f"{UNREAD}.")}
    apart = {name: site for name, site in tower.sites.items() if name not in body}
    unread = frozenset(name for name in tower.parameter_names if name.startswith(f"{UNREAD}."))
    owned = tower.parameter_names - unread
    encoder = replace(tower, run=partial(_run, net), sites=body, parameter_names=owned)
    if not apart:
        return [encoder]
    run = run_until(net, UNREAD, [UNREAD])
    return [encoder, Tower(UNREAD, "head", "text", net.get_submodule(UNREAD), run, (), apart, unread)]


def _run(net: nn.Module, batch: Batch) -> Tensor:
    hidden: Tensor = getattr(call(net, batch), HIDDEN)
    return hidden
