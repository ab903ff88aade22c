"""Open what can be used: an artifact, without torch, or a model that penjing brings along, in PyTorch as it is."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from penjing.artifact.manifest import is_artifact
from penjing.errors import ArtifactError
from penjing.models.hub import BUILTIN
from penjing.runtimes import load as load_artifact
from penjing.runtimes.engine import choose_engine
from penjing.values import silent


def load(
    path: str | Path, engine: str = "auto", threads: int | None = None, *, exact: bool = False, warm_up: bool = True
) -> Any:
    """Open an artifact, or a built-in model by its name; see `penjing.runtimes.load`.

    A built-in model runs in PyTorch unless an engine is named, which then runs its float32 graphs.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise ArtifactError(f"an artifact is a folder, not a {type(path).__name__}", hint="give its path")
    if str(path) in BUILTIN and not is_artifact(Path(path)):
        return _builtin(str(path), engine, threads)
    return load_artifact(path, engine, threads, exact=exact, warm_up=warm_up)


def _builtin(name: str, engine: str, threads: int | None) -> Any:
    """A runner of a built-in model."""
    import tempfile

    from penjing.pipeline.evaluate import open_any

    chosen = choose_engine("torch" if engine == "auto" else engine, threads, cache=False)
    with tempfile.TemporaryDirectory(prefix="penjing-") as scratch:
        return open_any(name, chosen, Path(scratch), silent).runner
