"""Open a decoder graph in the way that suits its engine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from penjing.runtimes.decoding import Decoder, GraphDecoder
from penjing.runtimes.engine import Engine

DECODER = "decoder_with_past_model"


def open_decoder(folder: Path, settings: Mapping[str, Any], engine: Engine, name: str = DECODER) -> Decoder:
    """The decoder of an artifact; its cache stays inside of an engine that can keep it."""
    path = folder / "onnx" / f"{name}.onnx"
    if engine.name == "openvino":
        from penjing.runtimes.openvino_decoder import StatefulDecoder

        return StatefulDecoder(path, engine)
    return GraphDecoder(engine.open(path), settings)
