"""Tables stored in float16 and computed in float32: the values are rounded now, the bytes are saved when written."""

from __future__ import annotations

import torch
from torch import nn

MARK = "_stored_as_half"


def store_half(module: nn.Module, parameter: str = "weight") -> None:
    """Round a parameter to float16 values in place and mark it to be stored in two bytes."""
    values = getattr(module, parameter)
    with torch.no_grad():
        values.copy_(values.half().float())
    mark_half(module, parameter)


def mark_half(module: nn.Module, parameter: str) -> None:
    """Mark a parameter, whose values are float16 already, to be stored in two bytes."""
    setattr(module, MARK, (*getattr(module, MARK, ()), parameter))


def half_tensors(module: nn.Module) -> set[str]:
    """Full names, below `module`, of the parameters marked by `store_half`."""
    return {
        f"{name}.{parameter}" if name else parameter
        for name, child in module.named_modules(remove_duplicate=False)
        for parameter in getattr(child, MARK, ())
    }
