"""Attention of any network, overheard while it runs: its keys, and a weight for each of the tokens it looks at."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention, softmax
from torch.overrides import TorchFunctionMode

PRODUCTS = (torch.matmul, Tensor.matmul, Tensor.__matmul__)
SOFTMAX = (torch.softmax, Tensor.softmax, softmax)
ATTENTION_DIMENSIONS = 4


class Overheard(TorchFunctionMode):
    """While open, attention gives each token the weight of as many as it stands for: softmax(Q Kᵀ / √d + log s) V.

    Equation 1 of arXiv:2210.09461, with `sizes` s (batch, n); None leaves attention alone. `keys` are those of the
    first attention that was heard, (batch, heads, n, d): of the fused operator, or of a product of four dimensions and
    the softmax behind it.
    """

    def __init__(self, sizes: Tensor | None = None) -> None:
        super().__init__()
        self.keys: Tensor | None = None
        self._sizes = sizes
        self._right: Tensor | None = None

    def __torch_function__(
        self, func: Callable[..., Any], types: Iterable[Any], args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Called for every function of torch."""
        named = dict(kwargs or {})
        if self.keys is None and func is scaled_dot_product_attention:
            return self._fused(args, named)
        if self.keys is None and func in PRODUCTS and args[1].dim() == ATTENTION_DIMENSIONS:
            self._right = args[1]
        elif self.keys is None and func in SOFTMAX and self._right is not None:
            self.keys = self._right.transpose(2, 3)
            args = (args[0] if self._sizes is None else args[0] + self._bias(), *args[1:])
        return func(*args, **named)

    def _fused(self, args: Any, named: dict[str, Any]) -> Any:
        query, key, value, *others = args
        self.keys = key
        if self._sizes is not None:
            mask = others.pop(0) if others else named.pop("attn_mask", None)
            named["attn_mask"] = self._bias() if mask is None else _as_bias(mask) + self._bias()
            named |= dict(zip(("dropout_p", "is_causal"), others, strict=False))
            others = []
        return scaled_dot_product_attention(query, key, value, *others, **named)

    def _bias(self) -> Tensor:
        assert self._sizes is not None
        return self._sizes.log()[:, None, None, :]


def _as_bias(mask: Tensor) -> Tensor:
    """What is added to scores, of a mask that is true where a token may be looked at."""
    return torch.zeros(()).masked_fill(~mask, torch.finfo(torch.float32).min) if mask.dtype is torch.bool else mask
