"""LLaVA, Idefics3 and SmolVLM: an encoder that sees, a connector, and a language model that reads what it saw.

Three graphs leave this family, with the names and the signatures that transformers.js reads: `vision_encoder`
(pixel_values, for Idefics3 and SmolVLM also pixel_attention_mask -> image_features), `embed_tokens` (input_ids ->
inputs_embeds) and `decoder_model_merged` (inputs_embeds, attention_mask, position_ids and past_key_values.N.{key,value}
-> logits and present.N.{key,value}), in which no branch is: the past may be empty.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from penjing.data.row import Row
from penjing.models.attention import keys_and_values
from penjing.models.capture import call, not_reached
from penjing.models.decoder_graph import decoder_component
from penjing.models.families.vision_language_graphs import Speaker, TileViewer, Viewer, Words
from penjing.models.families.vision_language_settings import vision_language_inputs, vision_language_settings
from penjing.models.family import Component
from penjing.models.inputs import EXAMPLE_TOKENS, probe_inputs
from penjing.models.shares import divide
from penjing.models.tower import Batch, Tower

ARCHITECTURES = ("LlavaForConditionalGeneration", "Idefics3ForConditionalGeneration", "SmolVLMForConditionalGeneration")
EYES = ("clip_vision_model", "siglip_vision_model", "idefics3_vision", "smolvlm_vision", "idefics3", "smolvlm")
TONGUES = ("llama", "mistral", "qwen2")


class VisionLanguage:
    """The family: a picture and a question in, text out."""

    name = "vision-language"
    task: str | None = "image-text-to-text"

    def matches(self, config: Any) -> bool:
        """Return whether this is one of these, of an encoder and a language model that are known here."""
        if not any(name in ARCHITECTURES for name in config.architectures or []):
            return False
        return config.vision_config.model_type in EYES and config.text_config.model_type in TONGUES

    def towers(self, net: Any) -> list[Tower]:
        """Encoder, decoder, connector, table of words, and the head where it is not tied.

        The encoder's answer is what the connector reads; the decoder reads picture and text alike, and says which is
        which.
        """
        found = []
        for tower in divide(net):
            if tower.role == "encoder":
                found.append(replace(tower, run=partial(_look, net)))
            elif tower.role == "decoder":
                own = replace(tower, origins=partial(_origins, net), loss=partial(_loss, net))
                found.append(replace(own, cache=partial(keys_and_values, net)))
            else:
                found.append(tower)
        return found

    def components(self, net: Any) -> list[Component]:
        """The three graphs; batch, pictures, tokens and past vary."""
        eye = viewer(net)
        text, source = net.config.text_config, torch.Generator().manual_seed(0)
        ids = torch.randint(0, text.vocab_size, (2, EXAMPLE_TOKENS), generator=source)
        return [
            _seeing(net, eye, source),
            Component("embed_tokens", Words(net.get_input_embeddings()), {"input_ids": ids}, ("inputs_embeds",),
                      {"input_ids": {0: "batch", 1: "tokens"}}, "embedding"),
            decoder_component("decoder_model_merged", speaker(net), text, "inputs_embeds"),
        ]  # fmt: skip

    def settings(self, net: Any, folder: Path | None) -> dict[str, Any]:
        """Front end, prompt, special tokens and the shape of the cache, read from the checkpoint."""
        return vision_language_settings(net, folder)

    def batches(self, settings: Mapping[str, Any], folder: Path, rows: Iterable[Row]) -> Iterator[Batch]:
        """One picture with a question and its answer, or a request and a caption, per batch."""
        yield from vision_language_inputs(settings, folder, rows)

    def probe(self, net: nn.Module, seed: int) -> Batch:
        """Noise, and arbitrary words around the places of the picture."""
        return probe_inputs(net, seed)


def viewer(net: Any) -> Viewer | TileViewer:
    """What sees, as it stands now."""
    model, config = net.model, net.config
    if hasattr(model, "connector"):
        return TileViewer(model.vision_model, model.connector)
    layers = config.vision_feature_layer
    skipped = int(config.vision_feature_select_strategy == "default")
    return Viewer(
        model.vision_tower, model.multi_modal_projector, [layers] if isinstance(layers, int) else [*layers], skipped
    )


def speaker(net: Any) -> Speaker:
    """What writes, as it stands now."""
    model = net.model
    return Speaker(getattr(model, "language_model", None) or model.text_model, net.lm_head)


def _seeing(net: Any, eye: Viewer | TileViewer, source: torch.Generator) -> Component:
    """The graph of the encoder with its connector, at the size of picture that the model was made for.

    Runners show it tile by tile; six at once, which the export needs, would be six times the milliseconds.
    """
    config = net.config.vision_config
    side, channels = config.image_size, config.num_channels
    if isinstance(eye, Viewer):
        inputs = {"pixel_values": torch.randn(2, channels, side, side, generator=source)}
        axes = {"pixel_values": {0: "batch"}}
        one = {name: values[:1] for name, values in inputs.items()}
    else:
        inputs = {
            "pixel_values": torch.randn(2, 3, channels, side, side, generator=source),
            "pixel_attention_mask": torch.ones(2, 3, side, side, dtype=torch.bool),
        }
        axes = {name: {0: "batch", 1: "tiles"} for name in inputs}
        one = {name: values[:1, :1] for name, values in inputs.items()}
    return Component("vision_encoder", eye, inputs, ("image_features",), axes, "image", one)


def _look(net: Any, batch: Batch) -> Tensor:
    """What the encoder saw."""
    if "pixel_values" not in batch:
        raise not_reached(batch, "image")
    eye = viewer(net)
    if isinstance(eye, Viewer):
        return eye.features(batch["pixel_values"])
    pixels = batch["pixel_values"]
    mask = batch.get("pixel_attention_mask")
    everything = torch.ones(*pixels.shape[:2], *pixels.shape[3:], dtype=torch.bool)
    return eye.features(pixels, everything if mask is None else mask.bool())


def _origins(net: Any, batch: Batch) -> Tensor:
    """Which modality each token that the decoder reads is of: 0 the picture, 1 text."""
    is_text: Tensor = batch["input_ids"][0] != net.config.image_token_id
    return is_text.long()


def _loss(net: Any, batch: Batch) -> Tensor:
    """Of writing the answer; of writing all of the text where the batch does not say where that begins."""
    first = int(batch["answer_from"]) if "answer_from" in batch else 1
    logits = call(net, batch).logits[0]
    return nn.functional.cross_entropy(logits[first - 1 : -1], batch["input_ids"][0, first:])
