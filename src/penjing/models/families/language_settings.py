"""What the shop must know about a language model, as plain JSON."""

from __future__ import annotations

from typing import Any

from penjing.models.attention import cache_shape

DEFAULT_CONTEXT_TOKENS = 2048
"""Context of a model whose config names no largest position, such as one with ALiBi."""


def language_settings(net: Any, config: Any) -> dict[str, Any]:
    """Shape of the cache, tokens that end a text, longest context; `config` is the language model's own in `net`."""
    generation = getattr(net, "generation_config", None)
    ends = _token_ids(getattr(generation, "eos_token_id", None)) or _token_ids(config.eos_token_id)
    return {
        "decoder": cache_shape(config),
        "generation": {"eos": ends},
        "context_tokens": int(getattr(config, "max_position_embeddings", None) or DEFAULT_CONTEXT_TOKENS),
    }


def _token_ids(value: Any) -> list[int]:
    """One id, several, or none."""
    if value is None:
        return []
    return [int(one) for one in value] if isinstance(value, (list, tuple)) else [int(value)]
