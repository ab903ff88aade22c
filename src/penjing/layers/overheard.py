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

    Equation 1 of arXiv:2210.09461, with `sizes` s (batch, n); None leaves attention alone. `keys` and `values` are
    those of the first attention that was heard, (batch, heads, n, d): of the fused operator, or of a product of four
    dimensions, the softmax behind it and the product behind that.
    """

    def __init__(self, sizes: Tensor | None = None) -> None:
        super().__init__()
        self.keys: Tensor | None = None
        self.values: Tensor | None = None
        self._sizes = sizes
        self._right: Tensor | None = None

    def __torch_function__(
        self, func: Callable[..., Any], types: Iterable[Any], args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Called for every function of torch."""
        named = dict(kwargs or {})
        if self.values is not None:
            return func(*args, **named)
        if func is scaled_dot_product_attention and self.keys is None:
            self.keys, self.values = args[1:3]
            return func(*args, **named) if self._sizes is None else self._attend(*args, **named)
        if func in PRODUCTS and args[1].dim() == ATTENTION_DIMENSIONS:
            if self.keys is None:
                self._right = args[1]
            else:
                self.values = args[1]
        elif func in SOFTMAX and self.keys is None and self._right is not None:
            self.keys = self._right.transpose(2, 3)
            args = (args[0] if self._sizes is None else args[0] + self._bias(), *args[1:])
        return func(*args, **named)

    def _attend(
        self, query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, **options: Any
    ) -> Tensor:
        """The fused operator spelled out: it exports as a scaling of all keys and a search for NaN, and costs more."""
        if attn_mask is not None or options.get("is_causal") or options.get("dropout_p"):
            raise ValueError("attention to merged tokens knows no mask")
        scale = options.get("scale")
        scores = (query * (query.shape[-1] ** -0.5 if scale is None else scale)) @ key.transpose(2, 3)
        return torch.softmax(scores + self._bias(), -1) @ value

    def _bias(self) -> Tensor:
        assert self._sizes is not None
        return self._sizes.log()[:, None, None, :]
