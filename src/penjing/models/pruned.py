"""Modules that torch.nn.utils.prune has pruned, in memory or saved so: their masks are read into masked layers."""

from __future__ import annotations

from collections.abc import Iterable, Set
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor, nn
from torch.nn.utils import prune

from penjing.layers.masked import CONVOLUTIONS, Masked, masked_layer
from penjing.models.tower import is_transposed

WEIGHT = "weight"
HALVES = ORIGINAL, MASK = "_orig", "_mask"
"""What torch.nn.utils.prune appends to the name of a parameter for its two halves."""


@torch.no_grad()
def adopt_masks(net: nn.Module) -> None:
    """Put a masked layer in the place of every linear layer and convolution whose weight is pruned, in place.

    What no masked layer stands for (a pruned bias, norm or table) is made permanent, zeros and all, as `prune.remove`
    does it.
    """
    for path, module in list(net.named_modules()):
        for name in _pruned(module):
            if path and name == WEIGHT and (isinstance(module, (nn.Linear, *CONVOLUTIONS)) or is_transposed(module)):
                _replace(net, module, _masked(module))
            else:
                prune.remove(module, name)  # type: ignore[no-untyped-call]


def _masked(module: nn.Module) -> Masked:
    """The masked layer for a module with a pruned weight; a weight that another layer reads too is not touched."""
    weight, mask = module.get_parameter(WEIGHT + ORIGINAL), module.get_buffer(WEIGHT + MASK) != 0
    return masked_layer(module, *(part.t() if is_transposed(module) else part for part in (weight, mask)))


def pruned_names(missing: Iterable[str], unexpected: Iterable[str]) -> set[str]:
    """Names of parameters that a file lacks and holds in two halves, `weight_orig` and `weight_mask`."""
    held = set(unexpected)
    return {name for name in missing if {name + ORIGINAL, name + MASK} <= held}


@torch.no_grad()
def read_pruned(net: nn.Module, folder: Path, names: Set[str]) -> None:
    """Fill parameters from the two halves in a checkpoint's files and prune them again, for `adopt_masks` to find."""
    wanted = {name + half for name in names for half in HALVES}
    found: dict[str, Tensor] = {}
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, "pt") as stored:
            found |= {name: stored.get_tensor(name) for name in wanted & {*stored.keys()}}
    for name in names:
        path, _, parameter = name.rpartition(".")
        module = net.get_submodule(path)
        module.get_parameter(parameter).copy_(found[name + ORIGINAL])
        prune.custom_from_mask(module, parameter, found[name + MASK])  # type: ignore[no-untyped-call]


def _pruned(module: nn.Module) -> list[str]:
    """Names of a module's parameters that are pruned, the weight last: its layer is replaced with the others in it."""
    names = [name.removesuffix(ORIGINAL) for name in module._parameters if name.endswith(ORIGINAL)]
    found = [name for name in names if isinstance(module._buffers.get(name + MASK), Tensor)]
    return sorted(found, key=lambda name: name == WEIGHT)


def _replace(net: nn.Module, module: nn.Module, layer: nn.Module) -> None:
    """Put a layer wherever a module stands."""
    for path, other in list(net.named_modules(remove_duplicate=False)):
        if other is module:
            parent, _, attribute = path.rpartition(".")
            setattr(net.get_submodule(parent), attribute, layer)
