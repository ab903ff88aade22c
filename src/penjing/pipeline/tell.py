"""How a run tells where it is."""

from __future__ import annotations

from collections.abc import Callable

Tell = Callable[[str, int, int], None]
"""Called with (what is being done, items done, items in all); (what, 0, 0) starts something uncounted."""


def silent(what: str, done: int, total: int) -> None:
    """Tell nobody."""
