"""A small cache of speech for all tests of this room."""

from __future__ import annotations

import pytest

from tiny_seedling import small_cache


@pytest.fixture(scope="session")
def speech(tmp_path_factory):
    return small_cache(tmp_path_factory.mktemp("speech"))
