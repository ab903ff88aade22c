"""A language model with its cache as one graph, under the names and the signature that transformers.js reads."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from penjing.layers.cache import TOP, cache_grid
from penjing.models.attention import cache_shape
from penjing.models.family import Component
from penjing.models.inputs import example_lengths


def decoder_component(name: str, module: nn.Module, config: Any, fed: str) -> Component:
    """The graph of a module that is called with what it is fed, attention_mask, position_ids and the flat past.

    `fed` is `input_ids` (batch, tokens) or `inputs_embeds` (batch, tokens, width). Batch, tokens and past vary, and
    the past may be empty; it is int8 where the network's cache is.
    """
    source = torch.Generator().manual_seed(0)
    tokens, before = example_lengths(getattr(config, "max_position_embeddings", None))
    words = torch.randint(0, config.vocab_size, (2, tokens), generator=source)
    embeds = torch.randn(2, tokens, config.hidden_size, generator=source)
    inputs: dict[str, Tensor] = {
        fed: words if fed == "input_ids" else embeds,
        "attention_mask": torch.ones(2, before + tokens, dtype=torch.int64),
        "position_ids": torch.arange(before, before + tokens).repeat(2, 1),
    }
    axes: dict[str, dict[int, str]] = {
        fed: {0: "batch", 1: "tokens"},
        "attention_mask": {0: "batch", 1: "past+tokens"},
        "position_ids": {0: "batch", 1: "tokens"},
    }
    shape, coded = cache_shape(config), cache_grid(module) is not None
    names = [f"{layer}.{part}" for layer in range(shape["layers"]) for part in ("key", "value")]
    for part in names:
        past = torch.randn(2, shape["heads"], before, shape["head_width"], generator=source)
        inputs[f"past_key_values.{part}"] = (past * TOP / 3).clamp(-TOP, TOP).to(torch.int8) if coded else past
        axes[f"past_key_values.{part}"] = {0: "batch", 2: "past"}
    outputs = ("logits", *(f"present.{part}" for part in names))
    return Component(name, module, inputs, outputs, axes, "decoder")
