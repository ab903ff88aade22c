"""Fixtures of the tests over HTTP."""

from __future__ import annotations

from http_server import seedling_server, serving

__all__ = ["seedling_server", "serving"]
