"""A model as graphs in a folder that a runner opens, or as PyTorch modules behind the same interface."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from penjing.artifact.export import export_component
from penjing.artifact.manifest import FORMAT, NAME, write_json
from penjing.models.family import Component, Model
from penjing.models.reference import TorchGraph
from penjing.pipeline.tell import Tell


def export_graphs(model: Model, folder: Path, label: str, tell: Tell) -> list[Component]:
    """Write every component of a model to `folder/onnx`."""
    components = model.family.components(model.net)
    (folder / "onnx").mkdir(parents=True, exist_ok=True)
    for place, component in enumerate(components):
        tell(f"export {label}", place, len(components))
        export_component(component, folder / "onnx")
    tell(f"export {label}", len(components), len(components))
    return components


def runnable(model: Model, folder: Path) -> None:
    """Make a folder of graphs openable by a runner: tokenizer and, last, settings."""
    tokenizer = model.folder / "tokenizer.json"
    if tokenizer.exists():
        shutil.copyfile(tokenizer, folder / tokenizer.name)
    write_json(folder / NAME, {"format": FORMAT, "task": model.family.task, "settings": dict(model.settings)})


def reference_runner(model: Model) -> Any:
    """A runner of the model's task whose graphs are PyTorch modules."""
    graphs = {component.name: TorchGraph(component) for component in model.family.components(model.net)}
    if model.family.task == "speech-seq2seq":
        from penjing.runtimes.decoding import GraphDecoder
        from penjing.runtimes.speech import SpeechRunner

        decoder = GraphDecoder(graphs["decoder_with_past_model"], model.settings)
        return SpeechRunner(graphs["encoder_model"], decoder, model.settings, model.folder / "tokenizer.json")
    from penjing.runtimes.dual import GRAPHS, DualRunner

    sides = {side: graphs[name] for side, name in GRAPHS.items() if name in graphs}
    return DualRunner(sides, model.settings, model.folder / "tokenizer.json")
