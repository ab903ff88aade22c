"""A model as a runner sees it: its PyTorch modules behind the interface of graphs."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from penjing.artifact.manifest import write_json
from penjing.models.family import Model
from penjing.models.front_ends import open_fast
from penjing.models.reference import TorchGraph
from penjing.runtimes import runner_of
from penjing.runtimes.decoder import DECODER
from penjing.runtimes.decoding import GraphDecoder

TOKENIZER = "tokenizer.json"


def write_tokenizer(model: Model, folder: Path) -> Path:
    """Copy the checkpoint's tokenizer.json, or make one from its older files; what has none is a ModelError.

    A model that reads nothing needs none.
    """
    found, path = model.folder / TOKENIZER, folder / TOKENIZER
    if not reads_text(model):
        return path
    if found.is_file():
        shutil.copyfile(found, path)
    else:
        write_json(path, json.loads(open_fast(model.folder).backend_tokenizer.to_str()))
    return path


def reads_text(model: Model) -> bool:
    """Return whether a model's task takes or gives text; a classifier of pictures does neither."""
    return model.family.task != "classifier" or "text" in model.settings


def reference_runner(model: Model) -> Any:
    """A runner of the model's task whose graphs are PyTorch modules."""
    with tempfile.TemporaryDirectory(prefix="penjing-") as folder:
        return runner_of(_TorchParts(model, write_tokenizer(model, Path(folder))))


class _TorchParts:
    """The components of a model as graphs."""

    def __init__(self, model: Model, tokenizer_path: Path) -> None:
        self.task, self.settings, self.tokenizer_path = model.family.task or "", model.settings, tokenizer_path
        self._graphs = {component.name: TorchGraph(component) for component in model.family.components(model.net)}

    def graph(self, name: str) -> TorchGraph:
        return self._graphs[name]

    def decoder(self, name: str = DECODER) -> GraphDecoder:
        return GraphDecoder(self._graphs[name], self.settings)

    def kept_file(self, name: str, what: str) -> None:
        return None
