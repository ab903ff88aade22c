"""Attention as products and a softmax in exported graphs: the fused operator has a guard that engines do not fuse."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode


class SpelledAttention(TorchFunctionMode):
    """While open, softmax(Q Kᵀ / √d + mask) V is computed step by step (Vaswani et al. 2017, equation 1).

    torch exports the fused operator with a test for NaN behind its softmax, for rows that a mask hides whole, and with
    the scale on queries and keys alike. Engines fuse the plain steps and not those.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Iterable[Any], args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Called for every function of torch."""
        named = dict(kwargs or {})
        if func is not scaled_dot_product_attention or not is_plain(*args, **named):
            return func(*args, **named)
        return spelled(*args, **named)


def is_plain(query: Tensor, key: Tensor, value: Tensor, *args: Any, **options: Any) -> bool:
    """Whether it is attention with as many key heads as heads, without dropout and without a causal mask of its own."""
    same = query.dim() == key.dim() and query.shape[:-2] == key.shape[:-2]
    return (
        same
        and not args[1:]
        and not (options.get("is_causal") or options.get("dropout_p") or options.get("enable_gqa"))
    )


def spelled(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    scale: float | None = None,
    **options: Any,
) -> Tensor:
    """query (…, m, d), key and value (…, n, d), mask true where a query may look, or what is added to the scores."""
    scores = (query * (query.shape[-1] ** -0.5 if scale is None else scale)) @ key.transpose(-2, -1)
    if attn_mask is not None and attn_mask.dtype is torch.bool:
        scores = scores.masked_fill(~attn_mask, torch.finfo(scores.dtype).min)
    elif attn_mask is not None:
        scores = scores + attn_mask
    mixed: Tensor = torch.softmax(scores, -1) @ value
    return mixed
