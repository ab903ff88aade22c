"""What must be as it was when attempts with damaged input are over."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from fuzz_attempts import Attempts


def around(folder: Path) -> set[str]:
    """Paths where forged names lead: the working directory, the cache, and `outside` in the folders above."""
    above = {str(place / name) for place in folder.parents[:4] for name in ("outside", "x") if (place / name).exists()}
    cache = Path(os.environ["PENJING_CACHE"])
    kept = {str(path.relative_to(cache).parts[0]) for path in cache.rglob("*")} - {"openvino", "verified", "silence"}
    return above | kept | {str(path) for path in Path.cwd().iterdir()}


@pytest.fixture
def attempts(tmp_path: Path) -> Iterator[Attempts]:
    """Attempts that must all end as they may, and leave no file outside of `tmp_path`."""
    before = around(tmp_path)
    found = Attempts()
    yield found
    assert not found.faults, "\n".join(found.faults[:20])
    assert sum(found.ends.values()) > 0
    assert around(tmp_path) == before
