"""Look at a model or an artifact: towers, parameters, bytes, MACs, measured milliseconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from penjing.artifact.manifest import is_artifact, model_bytes, read_manifest
from penjing.runtimes.engine import choose_engine
from penjing.values import Tell, silent


def inspect(name: str, *, threads: int | None = None, tell: Tell = silent) -> dict[str, Any]:
    """Return the document of `inspect --json` for a model, or for an artifact from its manifest."""
    folder = Path(name)
    if is_artifact(folder):
        return inspect_artifact(folder)
    chosen = choose_engine("torch", threads)
    import torch

    from penjing.models.open import open_model
    from penjing.models.profile import inspect_model

    torch.set_num_threads(chosen.threads)
    tell(f"open {name}", 0, 0)
    model = open_model(name)
    tell("count operations and time towers", 0, 0)
    return inspect_model(model)


def inspect_artifact(folder: Path) -> dict[str, Any]:
    """What the manifest says of the towers after compression."""
    manifest = read_manifest(folder)
    total_ms = sum(tower["p50_ms_after"] or 0 for tower in manifest["towers"])
    return {
        "family": manifest["model"]["family"],
        "architecture": manifest["model"]["architecture"],
        "parameters": manifest["model"]["parameters"],
        "size_bytes": model_bytes(folder),
        "tied": [],
        "towers": [
            {
                **{key: tower[key] for key in ("name", "role", "modality", "blocks", "parameters")},
                "size_bytes": tower["size_bytes_after"],
                "macs": None,
                "p50_ms": tower["p50_ms_after"],
                "latency_share": tower["p50_ms_after"] / total_ms if tower["p50_ms_after"] and total_ms else None,
            }
            for tower in manifest["towers"]
        ],
    }
