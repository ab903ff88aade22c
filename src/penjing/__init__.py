"""penjing: compress multimodal models until they run well on an ordinary CPU.

The whole public API: `inspect`, `compress`, `evaluate` (they need the extra `compress`) and `load` (torch-free).
Importing the package loads none of the machine-learning libraries.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

__all__ = ["__version__", "compress", "evaluate", "inspect", "load"]
__version__ = version("penjing")

_HOMES = {
    "inspect": "penjing.pipeline",
    "compress": "penjing.pipeline",
    "evaluate": "penjing.pipeline",
    "load": "penjing.runtimes",
}


def __getattr__(name: str) -> Any:
    """Import a public function when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module 'penjing' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """List the public names."""
    return __all__
