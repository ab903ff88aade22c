"""Attention of decoders in exported graphs: spelled out, with a flat past. What families of language models share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from penjing.layers.cache import CacheGrid, to_codes
from penjing.models.capture import call
from penjing.models.tower import Batch

SPELLED = "penjing_spelled_out"


def causal_mask(attention_mask: Tensor, count: int, before: int) -> Tensor:
    """What is added to the scores (batch, 1, count, before + count): new tokens see the past and one another's past.

    `attention_mask` (batch, before + count) is 0 where a row is padded.
    """
    places = torch.arange(before, before + count, device=attention_mask.device)
    causal = torch.arange(before + count, device=attention_mask.device)[None, :] <= places[:, None]
    seen = causal[None, None] & attention_mask.bool()[:, None, None, :]
    return torch.zeros(()).masked_fill(~seen, torch.finfo(torch.float32).min)


def cache_of(past: list[Tensor], grid: CacheGrid | None = None) -> Any:
    """transformers' cache with these keys and values in it; its own constructor would join them to empty tensors.

    With a grid the past are int8 codes, new keys and values are rounded to it, and attention is given codes: the steps
    wait in `spelled_out`.
    """
    from transformers.cache_utils import DynamicCache

    cache = DynamicCache()
    cache.layers = []
    for place in range(0, len(past), 2):
        layer = _layer_of(grid, place // 2)
        layer.keys, layer.values = past[place], past[place + 1]
        layer.dtype, layer.device, layer.is_initialized = torch.float32, past[place].device, True
        cache.layers.append(layer)
    return cache


def _layer_of(grid: CacheGrid | None, place: int) -> Any:
    from transformers.cache_utils import DynamicLayer

    if grid is None:
        return DynamicLayer()
    key_step, value_step = grid.keys[place], grid.values[place]

    class CodedLayer(DynamicLayer):  # type: ignore[misc]
        """Grows by codes and hands them out as floats."""

        keys: Tensor
        values: Tensor

        def update(self, keys: Tensor, values: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
            self.keys = torch.cat([self.keys, to_codes(keys, key_step)], 2)
            self.values = torch.cat([self.values, to_codes(values, value_step)], 2)
            return self.keys.float(), self.values.float()

    return CodedLayer()


def keys_and_values(net: nn.Module, batch: Batch) -> list[tuple[Tensor, Tensor]]:
    """What a network's cache holds after a batch: keys and values of each layer, (batch, key heads, tokens, width)."""
    found = call(net, batch, use_cache=True).past_key_values
    return [(layer.keys, layer.values) for layer in found.layers]


@contextmanager
def spelled_out(net: Any, grid: CacheGrid | None = None) -> Iterator[None]:
    """Attention as products and a softmax while this is open.

    The scale is on the queries, and key heads are shared without being repeated: the fused operator exports as a
    scaling and a transposition of all keys at every step. So are the steps of a cache of codes: on queries and on what
    was mixed, not on the whole past.
    """
    from transformers import AttentionInterface

    AttentionInterface.register(SPELLED, partial(_attend, grid))
    before = net.config._attn_implementation
    net.config._attn_implementation = SPELLED
    try:
        yield
    finally:
        net.config._attn_implementation = before


def _attend(
    grid: CacheGrid | None,
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    **options: Any,
) -> tuple[Tensor, None]:
    """softmax(Q Kᵀ / √d + mask) V: query (batch, heads, m, d), key and value (batch, key heads, n, d)."""
    batch, heads, count, width = query.shape
    shared = key.shape[1]
    scaling = options.get("scaling")
    scaled = query * (width**-0.5 if scaling is None else scaling)
    grouped = scaled.reshape(batch, shared, heads // shared * count, width)
    if grid is not None:
        grouped = grouped * grid.keys[module.layer_idx]
    scores = (grouped @ key.transpose(2, 3)).reshape(batch, heads, count, key.shape[2])
    if attention_mask is not None:
        scores = scores + attention_mask
    shares = torch.softmax(scores, -1).reshape(batch, shared, heads // shared * count, key.shape[2])
    mixed = shares @ value
    if grid is not None:
        mixed = mixed * grid.values[module.layer_idx]
    return mixed.reshape(batch, heads, count, width).transpose(1, 2), None


def cache_shape(config: Any) -> dict[str, int]:
    """Layers, key heads and the width of one, under whichever names a config has them."""
    heads = config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // heads
    shared = getattr(config, "num_key_value_heads", None) or heads
    return {"layers": config.num_hidden_layers, "heads": shared, "head_width": width}
