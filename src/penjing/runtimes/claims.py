"""Which engines an artifact claims: those in which it was judged and met its goals."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from penjing.extras import have
from penjing.runtimes.engine import choose_engine

LOG = logging.getLogger("penjing")
INSTALLED_AS = {"openvino": "openvino", "onnxruntime": "onnxruntime"}
"""Engine -> the package that brings it."""


def claims_of(manifest: Mapping[str, Any]) -> dict[str, bool]:
    """Return engine -> whether the artifact claims it; empty for artifacts that were judged before engines were."""
    engines = manifest.get("engines")
    if not isinstance(engines, Mapping):
        return {}
    return {str(name): entry.get("claimed") is True for name, entry in engines.items() if isinstance(entry, Mapping)}


def engine_for(manifest: Mapping[str, Any], name: str, artifact: str) -> str:
    """Return the engine to open an artifact in.

    Args:
        manifest: of the artifact.
        name: what was asked for; `auto` takes the best engine that the artifact claims and that is installed.
        artifact: name of the artifact, for the warning.
    """
    claims = claims_of(manifest)
    if not claims or name == "torch":
        return name
    chosen = choose_engine(name).name
    if claims.get(chosen):
        return chosen
    if name == "auto":
        for engine, claimed in claims.items():
            if claimed and engine in INSTALLED_AS and have(INSTALLED_AS[engine]):
                return engine
    why = "was refused in" if chosen in claims else "was not judged in"
    LOG.warning("%s %s %s: what it answers there may be worse than its report says", artifact, why, chosen)
    return chosen
