"""Fixtures of the rooms that change models: tiny checkpoints, saved once, opened anew for every test.

Importing this needs no torch: the conftests that do so are read in an environment without it, too.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from penjing.models.family import Model


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Tiny products are quicker alone than divided."""
    try:
        import torch
    except ModuleNotFoundError:
        return
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def folder_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a tiny checkpoint; do not write to it."""
    from tiny_models import TINY

    root = tmp_path_factory.mktemp("tiny")
    return lru_cache(maxsize=None)(lambda name: TINY[name](root / name))


@pytest.fixture
def fresh(folder_of: Callable[[str], Path]) -> Callable[[str], Model]:
    """A model that the test may change."""
    from penjing.models.open import open_model

    return lambda name: open_model(str(folder_of(name)))
