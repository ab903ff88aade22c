"""Where a runner gets its graphs from: an artifact in an engine, or anything else that has them by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from penjing.artifact.manifest import NAME
from penjing.errors import ArtifactError
from penjing.runtimes.decoder import DECODER, open_decoder
from penjing.runtimes.decoding import Decoder
from penjing.runtimes.engine import Engine, Graph, cache_folder


class Parts(Protocol):
    """What a runner is put together from."""

    @property
    def task(self) -> str:
        """What the graphs are for."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """What the shop must know of the model."""

    @property
    def tokenizer_path(self) -> Path:
        """The tokenizer.json; a model that reads nothing has none there."""

    def graph(self, name: str) -> Graph:
        """One graph."""

    def decoder(self, name: str = DECODER) -> Decoder:
        """One graph that has a cache."""

    def kept_file(self, name: str, what: str) -> Path | None:
        """A file in the user's cache for what is made of a graph once and for all; None where nothing may be kept."""


@dataclass(frozen=True, slots=True)
class ArtifactParts:
    """The graphs of an artifact in an engine; a graph is opened once.

    `digests` are of the files that were read and found to be what the manifest says: no other file of a published
    artifact is opened. None for graphs of this very run, which are not published yet and have no digests.
    """

    folder: Path
    manifest: Mapping[str, Any]
    engine: Engine
    digests: Mapping[str, str] | None = field(default=None)
    _graphs: dict[str, Graph] = field(default_factory=dict, repr=False, compare=False)

    @property
    def task(self) -> str:
        """The manifest's; empty where it names none."""
        return self.manifest.get("task") or ""

    @property
    def settings(self) -> Mapping[str, Any]:
        """The manifest's."""
        found: Mapping[str, Any] = self.manifest.get("settings", {})
        return found

    @property
    def tokenizer_path(self) -> Path:
        """The artifact's tokenizer.json."""
        path = self.folder / "tokenizer.json"
        if path.exists():
            self._check_listed("tokenizer.json")
        return path

    def graph(self, name: str) -> Graph:
        """Open one graph."""
        if name not in self._graphs:
            self._check_listed(f"onnx/{name}.onnx")
            self._graphs[name] = self.engine.open(self.folder / "onnx" / f"{name}.onnx")
        return self._graphs[name]

    def decoder(self, name: str = DECODER) -> Decoder:
        """Open one graph with its cache, inside of an engine that can keep it."""
        self._check_listed(f"onnx/{name}.onnx")
        return open_decoder(self.folder, self.settings, self.engine, name)

    def kept_file(self, name: str, what: str) -> Path | None:
        """One for every graph, engine and precision; none for graphs that are not published."""
        digest = (self.digests or {}).get(f"onnx/{name}.onnx")
        if digest is None or not self.engine.cache:
            return None
        exact = "-exact" if self.engine.exact else ""
        return cache_folder() / what / f"{digest[:32]}-{self.engine.name}{exact}.npz"

    def _check_listed(self, name: str) -> None:
        """Refuse a file of a published artifact that its manifest knows nothing of."""
        if self.digests is not None and name not in self.digests and (self.folder / name).exists():
            raise ArtifactError(f"{self.folder / NAME} does not list {name}", hint="copy the whole folder again")
