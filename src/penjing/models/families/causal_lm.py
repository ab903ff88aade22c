"""Language models that write on from what is there (Llama, Qwen2, Mistral, GPT-2, OPT): one graph with its cache.

The graph has the names and the signature that transformers.js reads (`model.onnx`): input_ids, attention_mask,
position_ids and past_key_values.N.{key,value} in, logits and present.N.{key,value} out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from penjing.data.row import Row
from penjing.layers.cache import cache_grid
from penjing.models.attention import cache_of, causal_mask, keys_and_values, spelled_out
from penjing.models.decoder_graph import decoder_component
from penjing.models.families.chat_settings import chat_settings
from penjing.models.families.generic import Generic
from penjing.models.families.language_settings import language_settings
from penjing.models.family import Component
from penjing.models.inputs import probe_inputs
from penjing.models.shares import divide
from penjing.models.tower import Batch, Tower

TYPES = ("llama", "mistral", "qwen2", "gpt2", "opt")
HEADS = ("ForCausalLM", "LMHeadModel")


class Writer(nn.Module):
    """A language model as a graph: new tokens (batch, tokens) and the flat past -> logits and the grown past.

    `attention_mask` (batch, past + tokens) is 0 where a row is padded; `past` holds key and value of each layer,
    (batch, key heads, past, head width).
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, position_ids: Tensor, past: list[Tensor]
    ) -> tuple[Tensor, ...]:
        """Read the tokens, causally among themselves."""
        net: Any = self.net
        grid = cache_grid(net)
        cache = cache_of(past, grid)
        with spelled_out(net, grid):
            found = net(
                input_ids=input_ids,
                attention_mask=causal_mask(attention_mask, input_ids.shape[1], past[0].shape[2]),
                position_ids=position_ids,
                past_key_values=cache,
                use_cache=True,
            )
        return found.logits, *(part for layer in cache.layers for part in (layer.keys, layer.values))


class CausalLM:
    """The family: text in, the text that follows out."""

    name = "causal-lm"
    task: str | None = "causal-lm"

    def matches(self, config: Any) -> bool:
        """Return whether this is a language model of a kind whose cache is known to be plain."""
        names = config.architectures or []
        return config.model_type in TYPES and any(name.endswith(HEADS) for name in names)

    def towers(self, net: nn.Module) -> list[Tower]:
        """Decoder, table of words, and the head where it is not tied."""
        return [
            replace(tower, cache=partial(keys_and_values, net)) if tower.role == "decoder" else tower
            for tower in divide(net)
        ]

    def components(self, net: Any) -> list[Component]:
        """The one graph; batch, tokens and past vary, the past may be empty."""
        return [decoder_component("model", Writer(net), net.config, "input_ids")]

    def settings(self, net: Any, folder: Path | None) -> dict[str, Any]:
        """Lengths, special tokens, the shape of the cache and the chat template, read from the checkpoint."""
        return {**language_settings(net, net.config), "chat": chat_settings(folder)}

    def batches(self, settings: Mapping[str, Any], folder: Path, rows: Iterable[Row]) -> Iterator[Batch]:
        """The text of each row, cut to a window."""
        return Generic().batches(settings, folder, rows)

    def probe(self, net: nn.Module, seed: int) -> Batch:
        """Arbitrary words."""
        return probe_inputs(net, seed)
