"""Random generators that depend on names, never on the order of rows, the process or PYTHONHASHSEED."""

from __future__ import annotations

import hashlib
import json

import numpy as np


def digest_of(seed: int, *names: str) -> bytes:
    """SHA-256 (32 bytes) of a seed and names, in this order."""
    return hashlib.sha256(json.dumps([seed, *names]).encode("ascii")).digest()


def generator(seed: int, *names: str) -> np.random.Generator:
    """A generator for what these names identify: (seed, row id, kind) always give the same numbers."""
    return np.random.default_rng(int.from_bytes(digest_of(seed, *names)[:16], "big"))
