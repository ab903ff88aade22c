"""Networks that read whole texts as plain modules with flat tensors, under the names that transformers.js feeds."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor, nn

from penjing.models.family import Component

TEXT_TYPES = ("bert", "roberta", "xlm-roberta", "camembert", "distilbert", "mpnet", "electra")
"""Model types whose networks read texts from both sides, with learned positions."""
PADDED_TYPES = ("roberta", "xlm-roberta", "camembert", "mpnet")
"""Those of them whose first token's place is the one after the padding token's number."""
FIRST_WORD = 4
PROBE_TOKENS = 9


class Reader(nn.Module):
    """Texts. input_ids and attention_mask (batch, tokens) -> one field of what transformers answers."""

    def __init__(self, net: nn.Module, answer: str) -> None:
        super().__init__()
        self.net = net
        self.answer = answer

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Read texts; what the mask leaves out is not seen."""
        return self.read(input_ids=input_ids, attention_mask=attention_mask)

    def read(self, **inputs: Tensor) -> Tensor:
        """Run the network and pick the field."""
        found: Tensor = getattr(self.net(**inputs, return_dict=True), self.answer)
        return found


class SegmentReader(Reader):
    """Texts in two segments, which token_type_ids (batch, tokens) tells apart."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> Tensor:  # type: ignore[override]
        """Read texts or pairs of texts."""
        return self.read(input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids)


def reads_segments(net: Any) -> bool:
    """Return whether a network tells segments apart: RoBERTa takes token types and has only one."""
    asked = inspect.signature(net.forward).parameters
    return "token_type_ids" in asked and int(getattr(net.config, "type_vocab_size", 0) or 0) > 1


def text_inputs(net: Any) -> list[str]:
    """Names of the inputs of a network's graph, in order."""
    return ["input_ids", "attention_mask", *(["token_type_ids"] if reads_segments(net) else [])]


def reader(net: Any, answer: str) -> Reader:
    """The network as a module that gives one field of its answer."""
    return (SegmentReader if reads_segments(net) else Reader)(net, answer)


def text_component(net: Any, answer: str) -> Component:
    """The one graph of a network that reads texts; batch and tokens vary."""
    source = torch.Generator().manual_seed(0)
    words = torch.randint(
        min(FIRST_WORD, net.config.vocab_size - 1), net.config.vocab_size, (2, _example_tokens(net)), generator=source
    )
    values = {"input_ids": words, "attention_mask": torch.ones_like(words), "token_type_ids": torch.zeros_like(words)}
    inputs = {name: values[name] for name in text_inputs(net)}
    axes = {0: "batch", 1: "tokens"}
    return Component("model", reader(net, answer), inputs, (answer,), dict.fromkeys(inputs, axes), "text")


def _example_tokens(net: Any) -> int:
    """Tokens of the example: no more than there are places, some of which RoBERTa and MPNet leave unused."""
    unused = (net.config.pad_token_id or 0) + 1 if net.config.model_type in PADDED_TYPES else 0
    return max(1, min(PROBE_TOKENS, int(net.config.max_position_embeddings) - unused))
