"""What a server has to offer: models by name, an index to search, each with its worker."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from penjing.apps.search import Embedding, Searcher, artifact_of
from penjing.apps.transcribe import HEARING
from penjing.artifact.manifest import model_bytes
from penjing.errors import ArtifactError
from penjing.runtimes import load
from penjing.serve.assistant import NAME, TASK, open_assistant
from penjing.serve.limits import Limits
from penjing.serve.refusals import unknown_model
from penjing.serve.worker import Worker


@dataclass(eq=False, slots=True)
class Served:
    """One artifact, open."""

    name: str
    artifact: Path
    worker: Worker
    size_bytes: int
    since: int = field(default_factory=lambda: int(time.time()))

    @property
    def runner(self) -> Any:
        """What runs it."""
        return self.worker.runner

    @property
    def abilities(self) -> list[str]:
        """What it can do: embed, ask, caption, chat, transcribe, translate, assist."""
        runner = self.runner
        found = {
            "embed": hasattr(runner, "embed_read"),
            "ask": hasattr(runner, "ask"),
            "caption": hasattr(runner, "caption"),
            "chat": hasattr(runner, "generate") and bool(runner.settings.get("chat")),
            "transcribe": runner.task in HEARING,
            "translate": "translate" in getattr(runner, "tasks", ()),
            "assist": runner.task == TASK,
        }
        return [name for name, is_there in found.items() if is_there]

    def as_json(self) -> dict[str, Any]:
        """An entry of `/v1/models`; what goes beyond the OpenAI API is under `penjing`."""
        modalities = [*getattr(self.runner, "modalities", ())]
        about = {
            "task": self.runner.task,
            "can": self.abilities,
            "modalities": modalities,
            "size_bytes": self.size_bytes,
        }
        return {"id": self.name, "object": "model", "created": self.since, "owned_by": "penjing", "penjing": about}


class Shelf:
    """Models by name, in the order they were given, and the index, if there is one."""

    def __init__(self, models: Sequence[Served], searcher: Searcher | None = None, searched_by: Served | None = None):
        self.models: Mapping[str, Served] = {model.name: model for model in models}
        self.searcher, self.searched_by = searcher, searched_by

    def __getitem__(self, name: str) -> Served:
        found = self.models.get(name)
        if found is None:
            raise unknown_model(name, [*self.models])
        return found

    def close(self) -> None:
        """Let all threads end."""
        for model in self.models.values():
            model.worker.close()


@dataclass(frozen=True, slots=True)
class Goods:
    """What is to be offered: artifacts, an index to search, a folder of knowledge for an assistant; by which engine."""

    artifacts: Sequence[str]
    index: str | None = None
    knowledge: str | None = None
    engine: str = "auto"
    threads: int | None = None


def open_shelf(goods: Goods, limits: Limits) -> Shelf:
    """Open artifacts under the names of their folders, an index with the model that it was made with, an assistant."""
    artifacts, index = goods.artifacts, goods.index
    folders = [Path(one) for one in artifacts]
    maker = Path(artifact_of(index, folders)) if index else None
    if maker is not None and maker.resolve() not in {folder.resolve() for folder in folders}:
        folders.append(maker)
    names = [folder.resolve().name for folder in folders]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise ArtifactError(f"two artifacts are called {twice}", hint="rename the folder of one")
    models = [_opened(folder, goods, limits) for folder in folders]
    if goods.knowledge is not None:
        if NAME in names:
            raise ArtifactError(f"an artifact is called {NAME}, as the desk is", hint="rename its folder")
        desk = open_assistant(goods.knowledge, models)
        models.append(Served(NAME, Path(goods.knowledge), Worker(desk, limits), 0))
    if index is None or maker is None:
        return Shelf(models)
    searched_by = next(model for model in models if model.artifact.resolve() == maker.resolve())
    return Shelf(models, Searcher(index, Embedding(searched_by.runner, searched_by.artifact)), searched_by)


def _opened(folder: Path, goods: Goods, limits: Limits) -> Served:
    runner = load(folder, engine=goods.engine, threads=goods.threads)
    return Served(folder.resolve().name, folder, Worker(runner, limits), model_bytes(folder))
