"""Models that ship with penjing, each a folder as transformers saves it. Torch-free."""

from __future__ import annotations

from pathlib import Path

from penjing.errors import ModelError, did_you_mean


def pretrained_folder(name: str) -> Path:
    """Return the folder of a model that ships with penjing, by the folder's name (`dual-encoder`)."""
    here = Path(__file__).parent
    known = sorted(path.parent.name for path in here.glob("*/config.json"))
    if name not in known:
        raise ModelError(f"no model called {name!r} ships with penjing", hint=did_you_mean(name, known))
    return here / name
