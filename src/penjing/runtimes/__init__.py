"""Engines that run an artifact's components, and runners that know one task each. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from penjing.runtimes.claims import engine_for
from penjing.runtimes.engine import Engine, choose_engine
from penjing.runtimes.parts import ArtifactParts, Parts

__all__ = [
    "Engine",
    "Parts",
    "choose_engine",
    "load",
    "open_artifact",
    "open_parts",
    "open_runner",
    "own_parts",
    "runner_of",
]

OPENERS: Mapping[str, tuple[str, str]] = {
    "speech-seq2seq": ("speech", "open_speech"),
    "dual-encoder": ("dual", "open_dual"),
    "multimodal": ("multimodal", "open_multimodal"),
    "causal-lm": ("language", "open_language"),
    "image-text-to-text": ("vision_language", "open_vision_language"),
    "image-to-text": ("image_to_text", "open_describer"),
    "visual-question-answering": ("image_to_text", "open_describer"),
    "encoder": ("encoder", "open_encoder"),
    "classifier": ("classifier", "open_classifier"),
}
"""Module and function that open the runner of each task."""


def load(
    path: str | Path, engine: str = "auto", threads: int | None = None, *, exact: bool = False, warm_up: bool = True
) -> Any:
    """Open an artifact and return a runner for its task: it can `transcribe`, `embed`, `classify`, `caption`,
    `ask` or `generate`.

    Neither torch nor transformers is imported. `exact` turns off what engines round on their own. `warm_up` runs every
    shape a speech model uses once, so that the first answer is as quick as all others. `auto` is an engine that the
    artifact claims; another one runs with a warning.

    Iterators that a runner returns may be consumed in turns: each has a cache of its own. Threads may not share a
    runner: open one per thread, or hold a lock while it is used, as the server does.

    Raises ArtifactError where a file is missing or is not what the manifest says: every file that runs is hashed.
    """
    from penjing.artifact.manifest import read_manifest

    folder = Path(path)
    manifest = read_manifest(folder)
    chosen = choose_engine(engine_for(manifest, engine, folder.name), threads, exact=exact)
    runner = open_artifact(folder, manifest, chosen)
    if warm_up and hasattr(runner, "warm_up"):
        runner.warm_up()
    return runner


def open_artifact(folder: Path, manifest: Mapping[str, Any], engine: Engine) -> Any:
    """Open the runner of a published artifact: its files are compared with the digests of the manifest first."""
    from penjing.runtimes.integrity import verified_files

    _check_task(folder, manifest)
    digests = verified_files(folder, manifest, cache=engine.cache)
    return open_parts(ArtifactParts(folder, manifest, engine, digests))


def open_runner(folder: Path, manifest: Mapping[str, Any], engine: Engine) -> Any:
    """Open the runner of graphs that this run made itself: there is no digest to compare them with."""
    return open_parts(own_parts(folder, manifest, engine))


def own_parts(folder: Path, manifest: Mapping[str, Any], engine: Engine) -> ArtifactParts:
    """The graphs that this run made itself, each opened once for whoever asks."""
    _check_task(folder, manifest)
    return ArtifactParts(folder, manifest, engine)


def _check_task(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Refuse what has no graphs, and say how it is used."""
    from penjing.artifact.manifest import how_to_open
    from penjing.errors import ArtifactError

    task = manifest.get("task")
    if not isinstance(task, str) or task not in OPENERS:
        raise ArtifactError(f"{folder} has no task that the engines run", hint=how_to_open(folder, manifest))
    if not (folder / "onnx").is_dir() and (folder / "checkpoint").is_dir():
        raise ArtifactError(f"{folder} holds a checkpoint and no graphs", hint=how_to_open(folder, manifest))


def open_parts(parts: ArtifactParts) -> Any:
    """Open the runner of an artifact's graphs, once the settings are checked."""
    from penjing.artifact.manifest import NAME
    from penjing.runtimes.settings import check_settings

    check_settings(parts.task, parts.settings, str(parts.folder / NAME))
    return runner_of(parts)


def runner_of(parts: Parts) -> Any:
    """Put together the runner of a task; only what it needs is imported."""
    module, function = OPENERS[parts.task]
    return getattr(import_module(f"penjing.runtimes.{module}"), function)(parts)
