"""Low-rank adapters (LoRA, arXiv:2106.09685) beside float linear layers, by peft; merged into them afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from penjing.errors import RecipeError
from penjing.extras import need
from penjing.layers.masked import mask_of
from penjing.models.tower import Site


class Adapters:
    """y = W x + B A x with A (rank, in) and B (out, rank) that learn, B zero at first; W is left as it is.

    Only plain linear layers get one: it would fill what a mask took away, and no code could hold it.
    """

    def __init__(self, net: nn.Module, sites: Sequence[Site], rank: int) -> None:
        peft: Any = need("peft", "train")
        self._net = net
        self._names = [
            site.name for site in sites if isinstance(site.module, nn.Linear) and mask_of(site.module) is None
        ]
        if not self._names:
            raise RecipeError("no float linear layer that an adapter could learn beside", hint="give trains: all")
        config = peft.LoraConfig(r=rank, lora_alpha=rank, target_modules=self._names, lora_dropout=0.0, bias="none")
        peft.inject_adapter_in_model(config, net)

    @torch.no_grad()
    def settle(self) -> None:
        """Put W + B A where W was."""
        for name in self._names:
            layer: Any = self._net.get_submodule(name)
            layer.merge()
            parent, _, attribute = name.rpartition(".")
            setattr(self._net.get_submodule(parent), attribute, layer.get_base_layer())
        if hasattr(self._net, "peft_config"):
            del self._net.peft_config
