"""Fixtures of the rooms that change models: tiny checkpoints, saved once, opened anew for every test."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import pytest
import torch

from penjing.models.family import Model
from penjing.models.open import open_model
from tiny_models import TINY

Fresh = Callable[[str], Model]


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Tiny products are quicker alone than divided."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def folder_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a tiny checkpoint; do not write to it."""
    root = tmp_path_factory.mktemp("tiny")
    return lru_cache(maxsize=None)(lambda name: TINY[name](root / name))


@pytest.fixture
def fresh(folder_of: Callable[[str], Path]) -> Fresh:
    """A model that the test may change."""
    return lambda name: open_model(str(folder_of(name)))
