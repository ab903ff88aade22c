"""Tiny checkpoints of every architecture, saved and opened once for all tests of this room."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import pytest
import torch

from penjing.models.family import Model
from penjing.models.open import open_model
from tiny_models import TINY

Folders = Callable[[str], Path]
Opened = Callable[[str], Model]


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Tiny models gain nothing from a second thread, and lose a lot where the cores are busy."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def folder_of(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    """The folder of a tiny checkpoint; do not write to it."""
    root = tmp_path_factory.mktemp("tiny")
    return lru_cache(maxsize=None)(lambda name: TINY[name](root / name))


@pytest.fixture(scope="session")
def opened(folder_of: Folders) -> Opened:
    """An opened tiny checkpoint; do not change it."""
    return lru_cache(maxsize=None)(lambda name: open_model(str(folder_of(name))))


@pytest.fixture
def fresh(folder_of: Folders) -> Opened:
    """A model that the test may change."""
    return lambda name: open_model(str(folder_of(name)))
