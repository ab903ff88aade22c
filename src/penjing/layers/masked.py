"""Masks as first-class things: layers that compute with W ⊙ m, and the mask that outlives what stands at its place.

A masked layer of floats is a `MaskedLinear`, `MaskedConv` or `MaskedEmbedding`. A layer of codes that takes its place
carries the same mask beside its codes (`carry_mask`), which are zero wherever it says so. A mask is a boolean buffer
called `mask` of the weight's shape, (out, in) or (out, in / groups, *kernel), false where a weight is gone.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from penjing.errors import RecipeError
from penjing.layers.described import DescribedLayer, Description

MASK = "mask"
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d)


class Masked(DescribedLayer):
    """What masked float layers share: the weight is a parameter that can be healed, the mask stays what it is."""

    is_structure: ClassVar[bool] = True

    mask: Tensor
    weight: Any
    bias: Any
    _product: Tensor | None = None

    def _take_over(self, weight: Tensor, bias: Tensor | None, mask: Tensor) -> None:
        """Hold copies of these, zeros where the mask is false, as trainable as the weight was."""
        trained = weight.requires_grad
        self.weight = nn.Parameter(weight.detach().masked_fill(~mask, 0).contiguous(), requires_grad=trained)
        self.bias = None if bias is None else nn.Parameter(bias.detach().clone(), requires_grad=bias.requires_grad)
        self.register_buffer(MASK, mask.contiguous())

    @property
    def live(self) -> Tensor:
        """W ⊙ m; in graphs the product is made before they are written."""
        weight: Tensor = self.weight
        if self._product is not None:
            return self._product
        return weight if torch.onnx.is_in_onnx_export() else weight * self.mask

    def share(self, other: Masked) -> None:
        """Read weight and mask of another layer from now on, as tied layers do."""
        self.weight = other.weight
        self.mask = other.mask

    def train(self, mode: bool = True) -> Self:
        """Set the mode; once training ends, what is masked is zero in the parameter itself, whatever moved it."""
        super().train(mode)
        if not mode:
            self.weight.data.masked_fill_(~self.mask, 0)
        return self


class MaskedLinear(Masked, nn.Linear):
    """y = x (W ⊙ m)ᵀ + b. x (..., in) -> (..., out)."""

    def __init__(self, weight: Tensor, bias: Tensor | None, mask: Tensor) -> None:
        rows, width = weight.shape
        nn.Linear.__init__(self, width, rows, bias is not None, device="meta")
        self._take_over(weight, bias, mask)

    def describe(self) -> dict[str, Any]:
        """Its shape."""
        return {"rows": self.out_features, "width": self.in_features, "bias": self.bias is not None}

    @classmethod
    def blank(cls, spec: Description, original: nn.Module | None) -> Self:
        """A layer of this shape that lets everything through."""
        shape = (spec["rows"], spec["width"])
        bias = torch.zeros(shape[0]).requires_grad_(False) if spec["bias"] else None
        return cls(torch.zeros(shape), bias, torch.ones(shape, dtype=torch.bool))

    def forward(self, values: Tensor) -> Tensor:
        """Apply the layer."""
        return nn.functional.linear(values, self.live, self.bias)


class MaskedConv(Masked):
    """A convolution with W ⊙ m; of one or two dimensions, as the two classes below."""

    _conv_forward: Any

    def __init__(self, like: nn.Conv1d | nn.Conv2d, weight: Tensor, mask: Tensor) -> None:
        sides: Any = (like.in_channels, like.out_channels, like.kernel_size, like.stride, like.padding, like.dilation)
        super().__init__(*sides, like.groups, like.bias is not None, like.padding_mode, device="meta")
        self._take_over(weight, like.bias, mask)

    def describe(self) -> dict[str, Any]:
        """Nothing: all is the original's."""
        return {}

    @classmethod
    def blank(cls, spec: Description, original: nn.Module | None) -> Self:
        """A layer like the original that lets everything through."""
        if not isinstance(original, CONVOLUTIONS):
            raise TypeError(f"a masked convolution cannot stand for {type(original).__name__}")
        return cls(original, original.weight, torch.ones(original.weight.shape, dtype=torch.bool))

    def forward(self, values: Tensor) -> Tensor:
        """Convolve."""
        found: Tensor = self._conv_forward(values, self.live, self.bias)
        return found


class MaskedConv1d(MaskedConv, nn.Conv1d):
    """values (batch, in, length) -> (batch, out, length')."""


class MaskedConv2d(MaskedConv, nn.Conv2d):
    """values (batch, in, height, width) -> (batch, out, height', width')."""


class MaskedEmbedding(Masked, nn.Embedding):
    """Rows of W ⊙ m. ids (...) -> (..., width). `embed_scale` is what the original multiplied by."""

    def __init__(self, weight: Tensor, mask: Tensor, embed_scale: float = 1.0, padding_idx: int | None = None) -> None:
        rows, width = weight.shape
        nn.Embedding.__init__(self, rows, width, padding_idx, device="meta")
        self._take_over(weight, None, mask)
        self.embed_scale = embed_scale

    def describe(self) -> dict[str, Any]:
        """Its shape, and what it does besides looking up."""
        shape = {"rows": self.num_embeddings, "width": self.embedding_dim}
        return {**shape, "embed_scale": self.embed_scale, "padding_idx": self.padding_idx}

    @classmethod
    def blank(cls, spec: Description, original: nn.Module | None) -> Self:
        """A table of this shape that lets everything through."""
        shape = (spec["rows"], spec["width"])
        whole = torch.ones(shape, dtype=torch.bool)
        return cls(torch.zeros(shape), whole, spec["embed_scale"], spec["padding_idx"])

    def forward(self, ids: Tensor) -> Tensor:
        """Look rows up."""
        rows = nn.functional.embedding(ids, self.weight)
        if not torch.onnx.is_in_onnx_export():
            rows = rows * self.mask[ids]
        return rows * self.embed_scale


@contextlib.contextmanager
def products_made_once(net: nn.Module) -> Iterator[None]:
    """Let the masked layers of a network make W ⊙ m once, for runs between which no weight changes.

    Of a layer of 4096 → 1024 neurons it takes as long as 32 images do. Gradients of all runs are summed before they
    are masked.
    """
    layers = [module for module in net.modules() if isinstance(module, (MaskedLinear, MaskedConv))]
    for layer in layers:
        layer._product = layer.live
    try:
        yield
    finally:
        for layer in layers:
            layer._product = None


def masked_layer(module: nn.Module, weight: Tensor, mask: Tensor) -> Masked:
    """The masked layer for a linear layer, stored whichever way, a convolution or a table; `weight` as of a `Site`.

    It is as trainable as the module was, and in its mode.
    """
    layer = _like(module, weight, mask)
    own = module.weight
    layer.weight.requires_grad_(weight.requires_grad or (isinstance(own, Tensor) and own.requires_grad))
    return layer.train(module.training)


def _like(module: nn.Module, weight: Tensor, mask: Tensor) -> Masked:
    """The masked layer of the module's kind."""
    if isinstance(module, nn.Embedding):
        return MaskedEmbedding(weight, mask, float(getattr(module, "embed_scale", 1.0)), module.padding_idx)
    if isinstance(module, nn.Conv1d):
        return MaskedConv1d(module, weight, mask)
    if isinstance(module, nn.Conv2d):
        return MaskedConv2d(module, weight, mask)
    bias = getattr(module, "bias", None)
    return MaskedLinear(weight, bias if isinstance(bias, Tensor) else None, mask)


def mask_of(module: nn.Module) -> Tensor | None:
    """The mask that a layer of ours carries, or None."""
    mask = module._buffers.get(MASK) if isinstance(module, DescribedLayer) else None
    return mask if mask is not None and mask.dtype == torch.bool else None


def carry_mask(before: nn.Module, after: nn.Module, place: str) -> None:
    """Hand the mask of a layer on to the layer that takes its place; an unmasked layer has none to hand on.

    Refuses a successor whose weights are of another shape or not zero where they were masked: nothing is densified in
    silence. What only stands in for a layer while it is worked on is no layer of ours, and gets none.
    """
    mask = mask_of(before)
    if mask is None or mask_of(after) is not None or not isinstance(after, (DescribedLayer, nn.Linear, *CONVOLUTIONS)):
        return
    weight: Any = getattr(after, "weight", None)
    fits = isinstance(weight, Tensor) and weight.shape == mask.shape and not bool(weight[~mask].any())
    if not fits or not isinstance(after, DescribedLayer):
        raise RecipeError(
            f"{place} is masked, and {type(after).__name__} would fill what the mask took away",
            hint="give steps that change the structure of a site before those that mask it",
        )
    after.register_buffer(MASK, mask)
