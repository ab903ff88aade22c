"""Attention of decoders in exported graphs: spelled out, with a flat past. What families of language models share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

SPELLED = "penjing_spelled_out"


def causal_mask(attention_mask: Tensor, count: int, before: int) -> Tensor:
    """What is added to the scores (batch, 1, count, before + count): new tokens see the past and one another's past.

    `attention_mask` (batch, before + count) is 0 where a row is padded.
    """
    places = torch.arange(before, before + count, device=attention_mask.device)
    causal = torch.arange(before + count, device=attention_mask.device)[None, :] <= places[:, None]
    seen = causal[None, None] & attention_mask.bool()[:, None, None, :]
    return torch.zeros(()).masked_fill(~seen, torch.finfo(torch.float32).min)


def cache_of(past: list[Tensor]) -> Any:
    """transformers' cache with these keys and values in it; its own constructor would join them to empty tensors."""
    from transformers.cache_utils import DynamicCache, DynamicLayer

    cache = DynamicCache()
    cache.layers = []
    for place in range(0, len(past), 2):
        layer = DynamicLayer()
        layer.keys, layer.values = past[place], past[place + 1]
        layer.dtype, layer.device, layer.is_initialized = past[place].dtype, past[place].device, True
        cache.layers.append(layer)
    return cache


@contextmanager
def spelled_out(net: Any) -> Iterator[None]:
    """Attention as products and a softmax while this is open.

    The scale is on the queries, and key heads are shared without being repeated: the fused operator exports as a
    scaling and a transposition of all keys at every step.
    """
    from transformers import AttentionInterface

    AttentionInterface.register(SPELLED, _attend)
    before = net.config._attn_implementation
    net.config._attn_implementation = SPELLED
    try:
        yield
    finally:
        net.config._attn_implementation = before


def _attend(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any
) -> tuple[Tensor, None]:
    """softmax(Q Kᵀ / √d + mask) V: query (batch, heads, m, d), key and value (batch, key heads, n, d)."""
    batch, heads, count, width = query.shape
    shared = key.shape[1]
    scaling = options.get("scaling")
    scaled = query * (width**-0.5 if scaling is None else scaling)
    grouped = scaled.reshape(batch, shared, heads // shared * count, width)
    scores = (grouped @ key.transpose(2, 3)).reshape(batch, heads, count, key.shape[2])
    if attention_mask is not None:
        scores = scores + attention_mask
    shares = torch.softmax(scores, -1).reshape(batch, shared, heads // shared * count, key.shape[2])
    mixed = (shares @ value).reshape(batch, heads, count, width)
    return mixed.transpose(1, 2), None


def cache_shape(config: Any) -> dict[str, int]:
    """Layers, key heads and the width of one, under whichever names a config has them."""
    heads = config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // heads
    shared = getattr(config, "num_key_value_heads", None) or heads
    return {"layers": config.num_hidden_layers, "heads": shared, "head_width": width}
