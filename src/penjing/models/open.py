"""Open a model: a folder, a hub id or a built-in name becomes a network with its towers and its identity."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from penjing.models.checkpoint import check_folder
from penjing.models.family import Model
from penjing.models.hub import locate
from penjing.models.network import load_network
from penjing.models.registry import family_of
from penjing.models.trunks import count_parameters


def open_model(name: str) -> Model:
    """Open any transformers checkpoint in float32, checked weight by weight; only safetensors, never remote code.

    `source` in the result is the identity for the manifest; `unused_weights` are tensors in the file that the network
    has no place for.
    """
    place = locate(name)
    weights = check_folder(place.folder, name)
    net, unused = load_network(place.folder)
    source = {
        "id": place.id,
        "revision": place.revision,
        "sha256": weights.sha256(),
        "size_bytes": weights.size_bytes,
        "parameters": count_parameters(net),
        "unused_weights": list(unused),
    }
    return model_of(net, name, place.folder, source)


def model_of(net: nn.Module, name: str, folder: Path, source: Mapping[str, Any]) -> Model:
    """Describe a network that is already in memory: its family, its towers, what the shop must know."""
    config: Any = net.config
    family = family_of(config)
    return Model(
        name=name,
        net=net,
        config=config,
        folder=folder,
        family=family,
        towers=tuple(family.towers(net)),
        settings=family.settings(net, folder),
        source=source,
    )
