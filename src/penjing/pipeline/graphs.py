"""A model as graphs in a folder that a runner opens."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from penjing.artifact.export import export_component
from penjing.artifact.manifest import FORMAT, NAME, write_json
from penjing.artifact.sharing import share_tables
from penjing.calibrate.runner import TOKENIZER, reads_text, write_tokenizer
from penjing.errors import ModelError
from penjing.models.family import Component, Model
from penjing.models.front_ends import has_tokenizer
from penjing.values import Tell

TEXT_TASKS = ("causal-lm", "encoder", "classifier")
MOST_GRAPH_BYTES = 2_000_000_000


def is_too_large(components: Sequence[Component]) -> bool:
    """Whether one of a model's graphs, as they are now, does not fit into one file of ONNX, which ends at 2 GB."""
    return any(_bytes_of(component) > MOST_GRAPH_BYTES for component in components)


def _bytes_of(component: Component) -> int:
    """Bytes of the tensors that its graph holds, those with two names once."""
    module = component.module
    return sum(value.numel() * value.element_size() for value in (*module.parameters(), *module.buffers()))


def export_graphs(model: Model, folder: Path, label: str, tell: Tell) -> list[Component]:
    """Write every component of a model to `folder/onnx` and return them; one too large for a file is a ModelError."""
    components = model.family.components(model.net)
    if is_too_large(components):
        raise ModelError(
            f"{model.name} is too large for one ONNX file, which ends at 2 GB",
            hint="give --format checkpoint to compress, --engine torch to evaluate",
        )
    (folder / "onnx").mkdir(parents=True, exist_ok=True)
    paths = []
    for place, component in enumerate(components):
        tell(f"export {label}", place, len(components))
        paths.append(export_component(component, folder / "onnx"))
    share_tables(paths)
    tell(f"export {label}", len(components), len(components))
    return components


def runnable(model: Model, folder: Path) -> None:
    """Make a folder of graphs openable by a runner: tokenizer and, last, settings."""
    write_tokenizer(model, folder)
    write_json(folder / NAME, {"format": FORMAT, "task": model.family.task, "settings": dict(model.settings)})


def check_front_end(model: Model) -> None:
    """Refuse a checkpoint whose graphs could not be fed: its tokenizer or its media front end is missing."""
    missing = ""
    if reads_text(model) and not has_tokenizer(model.folder):
        missing = TOKENIZER  # transformers would make up an empty one
    elif model.family.task == "multimodal" and not (model.settings.get("image") and model.settings.get("audio")):
        missing = "processor_config.json"
    elif ("image" in model.settings or model.family.task not in TEXT_TASKS) and not (
        model.settings.get("image") or model.settings.get("audio")
    ):
        missing = "preprocessor_config.json"
    elif model.family.task == "image-text-to-text" and not model.settings.get("prompt"):
        missing = "chat_template.jinja"
    if missing:
        raise ModelError(
            f"{model.name}: no {missing}, so nothing could be fed to its graphs",
            hint="copy it from the original model, or give --format checkpoint and no data",
        )
