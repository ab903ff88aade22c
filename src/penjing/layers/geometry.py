"""How a convolution slides over its input; what compressed convolutions take over from the float one."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

READ_BY_MODELS = (
    "in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups", "padding_mode",
)  # fmt: skip


def resemble(layer: nn.Module, like: nn.Conv1d | nn.Conv2d) -> None:
    """Give a layer the attributes of the convolution it stands for: models read them to compute lengths and masks."""
    for name in READ_BY_MODELS:
        setattr(layer, name, getattr(like, name))


def convolution(original: nn.Module | None) -> nn.Conv1d | nn.Conv2d:
    """The module as the convolution that it must be; TypeError where it is none."""
    if isinstance(original, (nn.Conv1d, nn.Conv2d)):
        return original
    raise TypeError(f"a convolution cannot stand for {type(original).__name__}")


class Geometry:
    """Stride, padding, dilation and groups of a one- or two-dimensional convolution."""

    def __init__(self, like: nn.Conv1d | nn.Conv2d) -> None:
        self._convolve = nn.functional.conv1d if like.weight.dim() == 3 else nn.functional.conv2d
        self._stride, self._padding, self._dilation, self._groups = (
            like.stride,
            like.padding,
            like.dilation,
            like.groups,
        )
        self._border = like.padding_mode
        self._border_widths = list(like._reversed_padding_repeated_twice)

    def convolve(self, values: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Convolve the way the original did. values (batch, in, *size), weight (out, in / groups, *kernel)."""
        padding: Any = self._padding
        if self._border != "zeros":
            values = nn.functional.pad(values, self._border_widths, mode=self._border)
            padding = 0
        return self._convolve(values, weight, bias, self._stride, padding, self._dilation, self._groups)
