"""Which scenes and sentences training never sees: told by the sentence itself, so that no list can be forgotten."""

from __future__ import annotations

import hashlib

from penjing.scenes.captions import caption
from penjing.scenes.scene import Scene

HELD_OUT_SHARE = 0.1


def held_out(text: str) -> bool:
    """Whether a sentence belongs to evaluation: one in ten does, by the hash of its words."""
    digest = hashlib.sha256(" ".join(text.lower().split()).encode()).digest()
    return int.from_bytes(digest[:4]) < HELD_OUT_SHARE * 2**32


def is_evaluation_scene(scene: Scene) -> bool:
    """Whether a scene belongs to evaluation: those do whose caption is held out."""
    return held_out(caption(scene))
