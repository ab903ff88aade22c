"""Tiny models as graphs: in PyTorch and in both engines, float and compressed, exported once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from engine_rack import opened
from penjing.methods import Aids, make
from penjing.models.family import Component, Model
from penjing.models.open import open_model
from penjing.runtimes.engine import Graph

FRAMES = 600


@dataclass(frozen=True)
class Parts:
    """A model, its components by name, and each component's graphs by engine."""

    model: Model
    components: dict[str, Component]
    graphs: dict[str, dict[str, Graph]]
    folder: Path


def parts_of(model: Model, folder: Path) -> Parts:
    """Export every component of a model."""
    folder.mkdir()
    components = {component.name: component for component in model.family.components(model.net)}
    return Parts(model, components, {name: opened(one, folder) for name, one in components.items()}, folder)


def compress(model: Model, steps: list[tuple[str, str, dict[str, Any]]], scratch: Path) -> Model:
    """Apply (tower, method, settings) one after the other; calibrated on synthetic inputs."""
    batches = [model.family.probe(model.net, seed) for seed in range(4)]
    towers = {tower.name: tower for tower in model.towers}
    for tower, method, settings in steps:
        notes = make(method, settings).run(towers[tower], batches, Aids(model, [], 0, scratch))
        assert any(not note.skipped for note in notes)
    return model


def small_whisper(folder: Path, scratch: Path) -> Model:
    """The encoder in static int8, the decoder in 4-bit groups, the table of words in 8 bits."""
    steps = [
        ("encoder", "static_int8", {}),
        ("encoder", "float16", {}),
        ("decoder", "rtn", {"bits": 4, "group": 32, "symmetric": False}),
        ("decoder", "float16", {}),
        ("embedding", "rtn", {"bits": 8}),
    ]
    return compress(open_model(str(folder)), steps, scratch)


def small_clip(folder: Path, scratch: Path) -> Model:
    """Pictures: kept 8-bit codes under static int8. Texts: 8-bit weights."""
    steps = [
        ("image", "rtn", {"bits": 8}),
        ("image", "static_int8", {}),
        ("text", "rtn", {"bits": 8}),
        ("text_embedding", "rtn", {"bits": 3}),
    ]
    return compress(open_model(str(folder)), steps, scratch)


def features(model: Model, frames: int = FRAMES, seed: int = 0) -> dict[str, Any]:
    """Noise for the encoder."""
    source = np.random.default_rng(seed)
    return {"input_features": source.normal(size=(1, model.config.num_mel_bins, frames)).astype(np.float32)}
