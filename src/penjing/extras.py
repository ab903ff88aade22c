"""The one door for optional packages."""

from __future__ import annotations

import importlib
import importlib.util
from types import ModuleType

from penjing.errors import MissingExtra


def need(module: str, extra: str) -> ModuleType:
    """Import an optional package, or say exactly how to get it."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not module.startswith(error.name):
            raise
        raise MissingExtra(f"{module} is not installed", hint=f'pip install "penjing[{extra}]"') from error


def have(module: str) -> bool:
    """Return whether an optional package is installed, without importing it."""
    return importlib.util.find_spec(module) is not None
