"""BLIP: pictures captioned, or questions about them answered, by a decoder that listens to what an encoder made.

A captioner has two graphs: `encoder_model` (pixel_values -> keys and values of every layer of the decoder) and
`decoder_with_past_model`. To answer, a picture is seen by `vision_model` (-> image_tokens), and `encoder_model` reads
the question with them in view.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from penjing.data.row import Row
from penjing.models.families.blip_graphs import Looker, Questioner, Viewer, Writer
from penjing.models.families.blip_settings import blip_inputs, blip_settings
from penjing.models.family import Component
from penjing.models.inputs import EXAMPLE_TOKENS, example_lengths, probe_inputs
from penjing.models.shares import divide
from penjing.models.tower import Batch, Tower

QUESTION_TOKENS = 8
SEEN_TOKENS = 7
"""Tokens that the example of a decoder listens to."""


class BlipCaptioner:
    """The family of captioners."""

    name = "blip"
    task: str | None = "image-to-text"
    architecture = "BlipForConditionalGeneration"

    def matches(self, config: Any) -> bool:
        """Return whether this is a whole BLIP of this kind."""
        return config.model_type == "blip" and self.architecture in (config.architectures or [])

    def towers(self, net: nn.Module) -> list[Tower]:
        """Image encoder, decoder, table of words; where questions are read, their encoder and its table too."""
        return divide(net)

    def components(self, net: Any) -> list[Component]:
        """What sees, and what writes; batch, tokens and past vary."""
        return [self._seeing(net, Viewer(net.vision_model, _layers(net)), _memory(net), "encoder_model"), _writing(net)]

    def settings(self, net: Any, folder: Path | None) -> dict[str, Any]:
        """Front ends, special tokens and the shape of the cache, read from the checkpoint."""
        return blip_settings(net, folder)

    def batches(self, settings: Mapping[str, Any], folder: Path, rows: Iterable[Row]) -> Iterator[Batch]:
        """One picture with its caption per batch."""
        yield from blip_inputs(settings, folder, rows, asks=False)

    def probe(self, net: Any, seed: int) -> Batch:
        """Noise and arbitrary words."""
        return probe_inputs(net, seed)

    @staticmethod
    def _seeing(net: Any, module: nn.Module, outputs: tuple[str, ...], name: str) -> Component:
        side, source = net.config.vision_config.image_size, torch.Generator().manual_seed(0)
        pixels = torch.randn(2, 3, side, side, generator=source)
        return Component(name, module, {"pixel_values": pixels}, outputs, {"pixel_values": {0: "batch"}}, "image")


class BlipAnswerer(BlipCaptioner):
    """The family of those that answer."""

    name = "blip-vqa"
    task: str | None = "visual-question-answering"
    architecture = "BlipForQuestionAnswering"

    def components(self, net: Any) -> list[Component]:
        """What sees, what reads the question, and what writes."""
        config, source = net.config, torch.Generator().manual_seed(0)
        patches = (config.vision_config.image_size // config.vision_config.patch_size) ** 2 + 1
        seen = torch.randn(2, patches, config.vision_config.hidden_size, generator=source)
        count = min(EXAMPLE_TOKENS, config.text_config.max_position_embeddings)
        ids = torch.randint(0, config.text_config.vocab_size, (2, count), generator=source)
        reader = next(tower.name for tower in self.towers(net) if tower.module is net.text_encoder)
        return [
            self._seeing(net, Looker(net.vision_model), ("image_tokens",), "vision_model"),
            Component("encoder_model", Questioner(net.text_encoder, _layers(net)),
                      {"input_ids": ids, "image_tokens": seen}, _memory(net),
                      {"input_ids": {0: "batch", 1: "tokens"}, "image_tokens": {0: "batch"}}, reader),
            _writing(net),
        ]  # fmt: skip

    def batches(self, settings: Mapping[str, Any], folder: Path, rows: Iterable[Row]) -> Iterator[Batch]:
        """One picture with a question and its answer per batch."""
        yield from blip_inputs(settings, folder, rows, asks=True)

    def probe(self, net: Any, seed: int) -> Batch:
        """Noise, an arbitrary question and an arbitrary answer."""
        source = torch.Generator().manual_seed(seed)
        side, text = net.config.vision_config.image_size, net.config.text_config
        asked, said = (min(count, text.max_position_embeddings) for count in (QUESTION_TOKENS, EXAMPLE_TOKENS))
        return {
            "pixel_values": torch.randn(1, 3, side, side, generator=source),
            "input_ids": torch.randint(3, text.vocab_size, (1, asked), generator=source),
            "decoder_input_ids": torch.randint(3, text.vocab_size, (1, said), generator=source),
        }


def _layers(net: Any) -> list[nn.Module]:
    return [*net.text_decoder.bert.encoder.layer]


def _memory(net: Any) -> tuple[str, ...]:
    """Names of what the decoder listens to."""
    return tuple(f"present.{layer}.encoder.{part}" for layer in range(len(_layers(net))) for part in ("key", "value"))


def _writing(net: Any) -> Component:
    """The graph of the decoder with its head."""
    text, source = net.config.text_config, torch.Generator().manual_seed(0)
    heads, width = text.num_attention_heads, text.hidden_size // text.num_attention_heads
    tokens, past = example_lengths(text.max_position_embeddings)
    inputs: dict[str, Tensor] = {"input_ids": torch.randint(0, text.vocab_size, (2, tokens), generator=source)}
    axes: dict[str, dict[int, str]] = {"input_ids": {0: "batch", 1: "tokens"}}
    for layer in range(text.num_hidden_layers):
        for whose, length, axis in (("decoder", past, "past"), ("encoder", SEEN_TOKENS, "frames")):
            for part in ("key", "value"):
                name = f"past_key_values.{layer}.{whose}.{part}"
                inputs[name] = torch.randn(2, heads, length, width, generator=source)
                axes[name] = {0: "batch", 2: axis}
    grown = (f"present.{layer}.decoder.{part}" for layer in range(text.num_hidden_layers) for part in ("key", "value"))
    outputs = ("logits", *grown)
    return Component("decoder_with_past_model", Writer(net.text_decoder), inputs, outputs, axes, "decoder")
