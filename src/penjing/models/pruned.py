"""Modules that torch.nn.utils.prune has pruned: their masks are read into masked layers."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils import prune

from penjing.layers.masked import masked_layer
from penjing.models.tower import is_transposed

WEIGHT = "weight"


@torch.no_grad()
def adopt_masks(net: nn.Module) -> None:
    """Put a masked layer in the place of every linear layer and convolution whose weight is pruned, in place.

    What no masked layer stands for (a pruned bias, norm or table) is made permanent, zeros and all, as `prune.remove`
    does it.
    """
    for path, module in list(net.named_modules()):
        for name in _pruned(module):
            mask = module.get_buffer(f"{name}_mask") != 0
            prune.remove(module, name)
            if name == WEIGHT and path and isinstance(module, (nn.Linear, nn.Conv1d, nn.Conv2d)):
                _replace(net, module, masked_layer(module, module.weight, mask))
            elif name == WEIGHT and path and is_transposed(module):
                _replace(net, module, masked_layer(module, module.get_parameter(WEIGHT).t(), mask.t()))


def _pruned(module: nn.Module) -> list[str]:
    """Names of a module's parameters that are pruned, the weight last: its layer is replaced with the others in it."""
    names = [name.removesuffix("_orig") for name in module._parameters if name.endswith("_orig")]
    found = [name for name in names if isinstance(module._buffers.get(f"{name}_mask"), Tensor)]
    return sorted(found, key=lambda name: name == WEIGHT)


def _replace(net: nn.Module, module: nn.Module, layer: nn.Module) -> None:
    """Put a layer wherever a module stands."""
    for path, other in list(net.named_modules(remove_duplicate=False)):
        if other is module:
            parent, _, attribute = path.rpartition(".")
            setattr(net.get_submodule(parent), attribute, layer.train(module.training))
