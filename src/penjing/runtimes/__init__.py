"""Engines that run an artifact's components, and runners that know one task each. Torch-free."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from penjing.runtimes.engine import Engine, choose_engine

__all__ = ["Engine", "choose_engine", "load", "open_runner"]


def load(
    path: str | Path, engine: str = "auto", threads: int | None = None, *, exact: bool = False, warm_up: bool = True
) -> Any:
    """Open an artifact and return a runner for its task: it can `transcribe`, `embed`, `classify`, `caption`,
    `ask` or `generate`.

    Neither torch nor transformers is imported. `exact` turns off what engines round on their own. `warm_up` runs every
    shape a speech model uses once, so that the first answer is as quick as all others.
    """
    from penjing.artifact.manifest import read_manifest

    folder = Path(path)
    runner = open_runner(folder, read_manifest(folder), choose_engine(engine, threads, exact=exact))
    if warm_up and hasattr(runner, "warm_up"):
        runner.warm_up()
    return runner


def open_runner(folder: Path, manifest: dict[str, Any], engine: Engine) -> Any:
    """Open the runner of the manifest's task."""
    from penjing.errors import ArtifactError

    task, settings = manifest.get("task"), manifest.get("settings", {})
    if task == "speech-seq2seq":
        from penjing.runtimes.speech import open_speech

        return open_speech(folder, manifest, engine)
    if task == "dual-encoder":
        from penjing.runtimes.dual import open_dual

        return open_dual(folder, settings, engine)
    if task == "multimodal":
        from penjing.runtimes.multimodal import open_multimodal

        return open_multimodal(folder, settings, engine)
    if task == "causal-lm":
        from penjing.runtimes.language import open_language

        return open_language(folder, settings, engine)
    if task == "image-text-to-text":
        from penjing.runtimes.vision_language import open_vision_language

        return open_vision_language(folder, settings, engine)
    if task == "encoder":
        from penjing.runtimes.encoder import open_encoder

        return open_encoder(folder, settings, engine)
    if task == "classifier":
        from penjing.runtimes.classifier import open_classifier

        return open_classifier(folder, settings, engine)
    if task in ("image-to-text", "visual-question-answering"):
        from penjing.runtimes.image_to_text import open_describer

        return open_describer(folder, manifest, engine)
    raise ArtifactError(
        f"{folder} has no task that the engines run",
        hint="it holds a checkpoint for PyTorch: penjing evaluate --engine torch",
    )
