"""Batch normalisation folded into the convolutions before it, exactly, in a copy that is only exported.

Engines fold it into float convolutions themselves. Behind integer codes they leave it, and a convolution that is not
followed by its activation is not run in integers. Codes stay what they are: a channel's factor goes into its scale.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from penjing.layers.static import StaticConv
from penjing.layers.weight_only import IntConv

BEHIND = {
    "convolution": ("normalization", "batchnorm"),
    "expand_conv": ("expand_bn",),
    "depthwise_conv": ("depthwise_norm",),
    "project_conv": ("project_bn",),
    "top_conv": ("top_bn",),
}
"""What transformers calls a convolution, and the normalisation right behind it, in ResNet and in EfficientNet."""


def folded(net: nn.Module) -> nn.Module:
    """The network itself where it has no batch normalisation behind a convolution, else a copy without."""
    if not any(True for _ in _pairs(net)):
        return net
    made = copy.deepcopy(net)
    for holder, first, second in list(_pairs(made)):
        _fold(getattr(holder, first), getattr(holder, second))
        setattr(holder, second, nn.Identity())
    return made.eval()


def _pairs(net: nn.Module) -> Iterator[tuple[nn.Module, str, str]]:
    """Modules that normalise right behind their convolution, with the names of both."""
    for module in net.modules():
        for first, names in BEHIND.items():
            for second in names:
                convolution, norm = getattr(module, first, None), getattr(module, second, None)
                if isinstance(convolution, (nn.Conv2d, StaticConv, IntConv)) and isinstance(norm, nn.BatchNorm2d):
                    yield module, first, second


@torch.no_grad()
def _fold(convolution: nn.Conv2d | StaticConv | IntConv, norm: nn.BatchNorm2d) -> None:
    """y = γ (Wx + b - μ) / √(σ² + ε) + β is a convolution by γW/√(σ² + ε), with a bias."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    factor = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    before = torch.zeros_like(factor) if convolution.bias is None else convolution.bias
    convolution.bias = nn.Parameter((before - norm.running_mean) * factor + norm.bias, requires_grad=False)
    if isinstance(convolution, nn.Conv2d):
        convolution.weight.mul_(_column(factor, convolution.weight))
        return
    if isinstance(convolution, StaticConv):  # no engine multiplies in integers by a scale below zero
        convolution.codes.mul_(_column(torch.where(factor < 0, -1, 1).to(torch.int8), convolution.codes))
        factor = factor.abs()
    convolution.scales.mul_(factor)


def _column(values: Tensor, like: Tensor) -> Tensor:
    """One value per output channel, spread over the kernel."""
    return values.view(-1, *[1] * (like.dim() - 1))
