"""The seedling: image, text and audio towers, their fusion, and a decoder, in one set of weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.utils import ModelOutput

from penjing.errors import DataError
from penjing.seedling.attention import KeyValue, SelfAttention
from penjing.seedling.configuration import SeedlingConfig
from penjing.seedling.towers import AudioTower, Decoder, Features, Fusion, ImageTower, TextTower

FIRST_TEMPERATURE = 0.07


@dataclass
class SeedlingOutput(ModelOutput):  # type: ignore[misc]
    """Embeddings of the modalities that were given, unit length, and logits where the decoder was asked to write."""

    loss: Tensor | None = None
    logits: Tensor | None = None
    image_embeds: Tensor | None = None
    text_embeds: Tensor | None = None
    audio_embeds: Tensor | None = None


class SeedlingModel(PreTrainedModel):  # type: ignore[misc]
    """Image ↔ text ↔ speech retrieval, captions, answers to typed or spoken questions, and speech recognition."""

    config_class = SeedlingConfig
    base_model_prefix = ""
    main_input_name = "pixel_values"
    _tied_weights_keys = {  # noqa: RUF012 - transformers' own shape
        "decoder.embed_tokens.weight": "text.embed_tokens.weight",
        "decoder.head.weight": "text.embed_tokens.weight",
    }

    def __init__(self, config: SeedlingConfig) -> None:
        super().__init__(config)
        self.image = ImageTower(config)
        self.text = TextTower(config)
        self.audio = AudioTower(config)
        self.fusion = Fusion(config)
        self.decoder = Decoder(config, self.text.embed_tokens)
        self.log_scale = nn.Parameter(torch.tensor(1 / FIRST_TEMPERATURE).log())
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Keep variances, and begin with attention that looks for what is alike and copies it.

        Keys begin with the queries' weights, outputs with the values' transposed (after Trockman & Kolter,
        arXiv:2305.09828): all tokens speak of one table of words, so a question finds its thing from the start.
        """
        spread = self.config.initializer_range
        if isinstance(module, nn.Linear):
            init.normal_(module.weight, std=module.in_features**-0.5)
        elif isinstance(module, nn.Embedding):
            init.normal_(module.weight, std=spread)
        elif isinstance(module, nn.Conv1d | nn.Conv2d):
            init.kaiming_normal_(module.weight, nonlinearity="relu")
        elif isinstance(module, SelfAttention):
            init.copy_(module.k_proj.weight, module.q_proj.weight)
            init.copy_(module.out_proj.weight, module.v_proj.weight.T)
        elif isinstance(module, ImageTower | AudioTower):
            init.copy_(module.positions, module.first_positions())
            if isinstance(module, ImageTower):
                init.copy_(module.merge.weight, module.first_merge())
        elif isinstance(positions := getattr(module, "positions", None), nn.Parameter):
            init.normal_(positions, std=spread)
        elif module is self:
            crossings: Any = zip(self.decoder.layers, self.fusion.keys, self.fusion.values, strict=True)
            for layer, key, value in crossings:
                init.copy_(key.weight, layer.cross.q_proj.weight)
                init.copy_(layer.cross.out_proj.weight, value.weight.T)
        if isinstance(modality := getattr(module, "modality", None), nn.Parameter):
            init.normal_(modality, std=spread)
        super()._init_weights(module)

    def get_input_embeddings(self) -> nn.Module:
        """The text tower's table."""
        return self.text.embed_tokens

    def get_output_embeddings(self) -> nn.Module:
        """The decoder's head."""
        return self.decoder.head

    def see(self, pixel_values: Tensor) -> Features:
        """Image features: pixel_values (batch, 3, height, width), normalised."""
        features: Features = self.image(pixel_values)
        return features

    def read(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Features:
        """Text features: input_ids (batch, tokens)."""
        features: Features = self.text(input_ids, attention_mask)
        return features

    def hear(self, input_features: Tensor, feature_mask: Tensor | None = None) -> Features:
        """Audio features: input_features (batch, mels, frames), frames a multiple of 8."""
        features: Features = self.audio(input_features, feature_mask)
        return features

    def fuse(self, features: Sequence[Features]) -> tuple[list[KeyValue], Tensor | None]:
        """What the decoder listens to, of the modalities that are there, and its mask."""
        if not features:
            raise DataError("nothing to write about", hint="give pixel_values, input_ids or input_features")
        tokens = torch.cat([part.tokens for part in features], 1)
        mask = None
        if any(part.mask is not None for part in features):
            mask = torch.cat([_mask(part) for part in features], 1)
        return self.fusion(tokens, mask), mask

    def forward(  # noqa: PLR0913, PLR0917 - one argument per modality, as transformers has it
        self,
        pixel_values: Tensor | None = None,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        input_features: Tensor | None = None,
        feature_mask: Tensor | None = None,
        decoder_input_ids: Tensor | None = None,
        labels: Tensor | None = None,
        return_dict: bool | None = None,
    ) -> Any:
        """Embed what is given; with `decoder_input_ids` also the logits, and with `labels` (-100: none) the loss."""
        image = None if pixel_values is None else self.see(pixel_values)
        text = None if input_ids is None else self.read(input_ids, attention_mask)
        audio = None if input_features is None else self.hear(input_features, feature_mask)
        present = [part for part in (image, text, audio) if part is not None]
        output = SeedlingOutput(
            *(None, None), *(None if part is None else unit(part.embedding) for part in (image, text, audio))
        )
        if decoder_input_ids is not None:
            memory, mask = self.fuse(present)
            output.logits, _ = self.decoder(decoder_input_ids, memory, mask)
            if labels is not None:
                output.loss = nn.functional.cross_entropy(output.logits.flatten(0, 1), labels.flatten())
        return output if return_dict is None or return_dict else output.to_tuple()

    @torch.no_grad()
    def generate(
        self, task: str, max_new_tokens: int | None = None, use_cache: bool = True, **inputs: Tensor
    ) -> Tensor:
        """Write greedily about the inputs of `forward`: (batch, tokens), padded behind the end token.

        `task` is `caption` (of a picture), `answer` (to a question, typed or spoken, about a picture) or `transcribe`.
        """
        memory, mask = self.fuse(self._features(**inputs))
        start = self.config.task_token_ids[task]
        batch = memory[0][0].shape[0]
        written = torch.full((batch, 1), start, device=self.device)
        ended = torch.zeros(batch, dtype=torch.bool, device=self.device)
        limit = min(max_new_tokens or self.config.max_answer_tokens, self.config.max_answer_tokens - 1)
        past = None
        for _ in range(limit):
            logits, grown = self.decoder(written[:, -1:] if past else written, memory, mask, past)
            past = grown if use_cache else None
            best = logits[:, -1].argmax(-1).masked_fill(ended, self.config.pad_token_id)
            written = torch.cat([written, best[:, None]], 1)
            ended |= best == self.config.eos_token_id
            if bool(ended.all()):
                break
        return written[:, 1:]

    def _features(self, **inputs: Tensor) -> list[Features]:
        """Features of the modalities that are there, in the order in which they are fused."""
        found = []
        if "pixel_values" in inputs:
            found.append(self.see(inputs["pixel_values"]))
        if "input_ids" in inputs:
            found.append(self.read(inputs["input_ids"], inputs.get("attention_mask")))
        if "input_features" in inputs:
            found.append(self.hear(inputs["input_features"], inputs.get("feature_mask")))
        return found


def unit(embedding: Tensor) -> Tensor:
    """Scale embeddings to length 1, so that their product is the cosine."""
    return nn.functional.normalize(embedding, dim=-1)


def _mask(features: Features) -> Tensor:
    """The mask of a tower's tokens, all true where it has none."""
    if features.mask is not None:
        return features.mask
    return torch.ones(features.tokens.shape[:2], dtype=torch.bool, device=features.tokens.device)
