"""Networks as a whole: what they are fed with, and hooks that hang on them. Shared by the contract suites."""

from __future__ import annotations

import torch
from torch import nn

from penjing.models.family import Model

WHOLE_WINDOW = 3000


def count_hooks(net: nn.Module) -> int:
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in net.modules())


def whole_inputs(model: Model) -> dict[str, torch.Tensor]:
    """A probe for the whole network; Whisper whole hears 30 s and nothing else."""
    inputs = dict(model.family.probe(model.net, 4))
    if "input_features" in inputs:
        source = torch.Generator().manual_seed(0)
        inputs["input_features"] = torch.randn(1, model.config.num_mel_bins, WHOLE_WINDOW, generator=source)
    return inputs
