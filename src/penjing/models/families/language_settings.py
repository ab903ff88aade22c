"""What the shop must know about a language model, as plain JSON."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

LONGEST_WINDOW = 2048


def language_settings(net: Any, folder: Path | None, cache: Mapping[str, int]) -> dict[str, Any]:
    """Cache, generation and context; `folder` is the checkpoint's, None for a network without one."""
    generation = getattr(net, "generation_config", None)
    ends = token_ids(getattr(generation, "eos_token_id", None)) or token_ids(net.config.eos_token_id)
    return {
        "decoder": dict(cache),
        "generation": {"eos": ends},
        "context_tokens": int(min(getattr(net.config, "max_position_embeddings", LONGEST_WINDOW), LONGEST_WINDOW)),
    }


def token_ids(value: Any) -> list[int]:
    """One id, several, or none."""
    if value is None:
        return []
    return [int(one) for one in value] if isinstance(value, (list, tuple)) else [int(value)]
