"""CLIP, SigLIP, CLAP and VisionTextDualEncoder: pictures or sounds on one side, texts on the other, cosine in between.

transformers gives all four the same shape: `vision_model` or `audio_model` beside `text_model`, a projection for each
(SigLIP's lie inside the encoders), and a scale for the cosine at the top.
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
from penjing.models.families.dual_graphs import (
    FusedHearer,
    Hearer,
    PaddedReader,
    Reader,
    Step,
    TwiceNamedReader,
    TwiceNamedViewer,
    Viewer,
    clap_steps,
)
from penjing.models.families.dual_settings import dual_inputs, dual_settings, reads_padding
from penjing.models.family import Component
from penjing.models.inputs import probe_inputs
from penjing.models.roles import input_tables
from penjing.models.tower import Batch, Modality, Site, Tower, find_sites
from penjing.models.trunks import find_blocks

MODEL_TYPES = ("clip", "siglip", "clap", "vision-text-dual-encoder")
PLACES: Mapping[Modality, tuple[str, str]] = {
    "image": ("vision_model", "visual_projection"),
    "audio": ("audio_model", "audio_projection"),
    "text": ("text_model", "text_projection"),
}
"""Encoder and projection of each side, as attributes of the model."""
WINDOW_FRAMES = 1001
"""Frames of the ten seconds that every published CLAP hears at once."""


class DualEncoder:
    """The family: two encoders into one space."""

    name = "dual-encoder"
    task: str | None = "dual-encoder"

    def matches(self, config: Any) -> bool:
        """Return whether this is a whole dual encoder, not one side of it or a classifier made from it."""
        names = config.architectures or [""]
        return config.model_type in MODEL_TYPES and not any("For" in name or "With" in name for name in names)

    def towers(self, net: Any) -> list[Tower]:
        """Image or audio, text (which also owns the scale of the cosine), and the text's table of tokens."""
        sides: list[Modality] = ["image" if hasattr(net, "vision_model") else "audio", "text"]
        sites = find_sites(net, net)
        tables = {id(table) for table in input_tables(net)}
        table = next(name for name, site in sites.items() if id(site.module) in tables and _is_of("text", name))
        embedding = replace(sites.pop(table), kind="embedding")
        owned = {name for name, _ in net.named_parameters()} - {f"{table}.weight"}
        media = frozenset(name for name in owned if _is_of(sides[0], name))
        steps = clap_steps(net.audio_model.audio_encoder) if sides[0] == "audio" else []
        run_text = partial(_run_text, net)
        return [
            _tower(net, sides[0], sites, media, steps),
            _tower(net, "text", sites, frozenset(owned - media), []),
            Tower("text_embedding", "embedding", "text", embedding.module, run_text, (), {table: embedding},
                  frozenset({f"{table}.weight"})),
        ]  # fmt: skip

    def components(self, net: Any) -> list[Component]:
        """`vision_model` or `audio_model`, and `text_model`, with the inputs and outputs that transformers.js knows."""
        media = _image_component(net) if hasattr(net, "vision_model") else _audio_component(net)
        return [media, _text_component(net)]

    def settings(self, net: Any, folder: Path | None) -> dict[str, Any]:
        """Front ends, scale and bias of the cosine, width; see `dual_settings`."""
        return dual_settings(net, folder)

    def batches(self, settings: Mapping[str, Any], folder: Path, rows: Iterable[Row]) -> Iterator[Batch]:
        """One picture or sound with its text per batch."""
        yield from dual_inputs(settings, folder, rows)

    def probe(self, net: Any, seed: int) -> Batch:
        """Noise and arbitrary words; a sound counts as longer than the window, so that the fusion layers run."""
        inputs = dict(probe_inputs(net, seed))
        if "is_longer" in inputs:
            inputs["is_longer"] = torch.ones_like(inputs["is_longer"])
        return inputs


def _image_component(net: Any) -> Component:
    """The graph of the picture side, at the size of picture the model was made for."""
    config, source = net.config.vision_config, torch.Generator().manual_seed(0)
    pixels = torch.randn(2, config.num_channels, *_pair(config.image_size), generator=source)
    twice = reads_padding(net.config)
    module = (TwiceNamedViewer if twice else Viewer)(net.vision_model, getattr(net, "visual_projection", None))
    names = ("image_embeds", "pooler_output") if twice else ("image_embeds",)
    return Component("vision_model", module, {"pixel_values": pixels}, names, {"pixel_values": {0: "batch"}}, "image")


def _text_component(net: Any) -> Component:
    """The graph of the text side; texts of any length, or always padded to the model's (SigLIP)."""
    config, projection = net.config.text_config, getattr(net, "text_projection", None)
    if reads_padding(net.config):
        words = {"input_ids": _some_text(config, config.max_position_embeddings)}
        names, axes = ("text_embeds", "pooler_output"), {0: "batch"}
        module = TwiceNamedReader(net.text_model, projection)
        return Component("text_model", module, words, names, {"input_ids": axes}, "text")
    ids = _some_text(config, min(9, max(2, config.max_position_embeddings - 4)))
    words = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    axes = {0: "batch", 1: "tokens"}
    return Component("text_model", reader(net), words, ("text_embeds",), dict.fromkeys(words, axes), "text")


def _audio_component(net: Any) -> Component:
    """The graph of the sound side; the number of frames is fixed by its spectrogram."""
    config, fused = net.config.audio_config, bool(net.config.audio_config.enable_fusion)
    frames = min(config.spec_size * config.spec_size // config.num_mel_bins, WINDOW_FRAMES)
    source = torch.Generator().manual_seed(0)
    inputs = {"input_features": torch.randn(2, 4 if fused else 1, frames, config.num_mel_bins, generator=source)}
    if fused:
        inputs["is_longer"] = torch.tensor([[True], [False]])
    module = hearer(net, clap_steps(net.audio_model.audio_encoder))
    return Component("audio_model", module, inputs, ("audio_embeds",), {name: {0: "batch"} for name in inputs}, "audio")


def reader(net: Any) -> Reader | PaddedReader:
    """The text side as it stands now."""
    kind = PaddedReader if reads_padding(net.config) else Reader
    return kind(net.text_model, getattr(net, "text_projection", None))


def hearer(net: Any, steps: list[Step]) -> Hearer:
    """The sound side as it stands now."""
    encoder = net.audio_model.audio_encoder
    kind = FusedHearer if encoder.enable_fusion else Hearer
    return kind(encoder, steps, net.audio_projection)


def _tower(net: Any, side: Modality, sites: Mapping[str, Site], owned: frozenset[str], steps: list[Step]) -> Tower:
    """Build a side's tower; its tables (all but the token table, which is carved out) hold positions."""
    runs: dict[Modality, Any] = {
        "image": partial(_run_image, net),
        "audio": partial(_run_audio, net, steps),
        "text": partial(_run_text, net),
    }
    body: nn.Module = getattr(net, PLACES[side][0])
    mine = {
        name: replace(site, kind="position") if site.kind == "embedding" else site
        for name, site in sites.items()
        if _is_of(side, name)
    }
    return Tower(side, "encoder", side, body, runs[side], tuple(steps) or find_blocks(body), mine, owned)


def _run_image(net: Any, batch: Batch) -> Tensor:
    embeds: Tensor = Viewer(net.vision_model, getattr(net, "visual_projection", None))(batch["pixel_values"])
    return embeds


def _run_audio(net: Any, steps: list[Step], batch: Batch) -> Tensor:
    module = hearer(net, steps).eval()
    names = ("input_features", "is_longer") if isinstance(module, FusedHearer) else ("input_features",)
    embeds: Tensor = module(*(batch[name] for name in names))
    return embeds


def _run_text(net: Any, batch: Batch) -> Tensor:
    module = reader(net)
    names = ("input_ids",) if isinstance(module, PaddedReader) else ("input_ids", "attention_mask")
    embeds: Tensor = module(*(batch[name] for name in names))
    return embeds


def _is_of(side: Modality, name: str) -> bool:
    """Return whether a parameter or a site belongs to a side, by its first name."""
    return name.partition(".")[0] in PLACES[side]


def _pair(size: Any) -> tuple[int, int]:
    return (int(size[0]), int(size[1])) if isinstance(size, list | tuple) else (int(size), int(size))


def _some_text(config: Any, length: int) -> Tensor:
    """Two texts (2, length) of ordinary tokens that close with the end token."""
    ids = torch.full((2, length), 4, dtype=torch.int64)
    end = config.eos_token_id if isinstance(config.eos_token_id, int) else None
    ids[:, -1] = end if end is not None and 0 <= end < config.vocab_size else 4
    return ids
