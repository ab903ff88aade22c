"""The seedling: three towers, a fusion by attention, a decoder; a graph for each, so that a task runs what it needs.

`vision_model`, `text_model` and `audio_model` give tokens and an embedding; `fusion_model` turns the tokens of whatever
is there into keys and values for the decoder, once; `decoder_with_past_model` reads one or a few word pieces.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from penjing.data.row import Row
from penjing.models.families.seedling_settings import seedling_inputs, seedling_settings
from penjing.models.family import Component
from penjing.models.inputs import example_lengths
from penjing.models.tower import Batch, Modality, Role, Tower, find_sites

PARTS: Mapping[str, tuple[Role, Modality]] = {
    "image": ("encoder", "image"),
    "text": ("encoder", "text"),
    "audio": ("encoder", "audio"),
    "fusion": ("connector", "mixed"),
    "decoder": ("decoder", "text"),
}
"""Submodules that are towers; whatever hangs beside them (the scale of the cosine) belongs to the text."""
TABLE = "text.embed_tokens"
"""One table of word pieces: the text tower reads by it, the decoder reads and writes by it."""
PROBE_FRAMES = 240
PROBE_TOKENS = 9


class TowerGraph(nn.Module):
    """A tower as a graph: its input -> tokens (batch, tokens, width), embedding (batch, embedding width)."""

    def __init__(self, tower: nn.Module) -> None:
        super().__init__()
        self.tower = tower

    def forward(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Run the tower on inputs without padding."""
        features = self.tower(values)
        return features.tokens, features.embedding


class FusionGraph(nn.Module):
    """The fusion as a graph: tokens (batch, tokens, width) -> key and value of each decoder layer."""

    def __init__(self, fusion: nn.Module) -> None:
        super().__init__()
        self.fusion = fusion

    def forward(self, tokens: Tensor) -> tuple[Tensor, ...]:
        """Fuse tokens without padding."""
        return tuple(part for pair in self.fusion(tokens) for part in pair)


class DecoderGraph(nn.Module):
    """One step as a graph: input_ids (batch, tokens) and the flat past -> logits and the grown past.

    `past` holds, per layer, key and value of what was written and of the memory; only the former grow.
    """

    def __init__(self, decoder: nn.Module) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, input_ids: Tensor, past: list[Tensor]) -> tuple[Tensor, ...]:
        """Read the tokens after the past ones."""
        layers = range(0, len(past), 4)
        written = [(past[place], past[place + 1]) for place in layers]
        memory = [(past[place + 2], past[place + 3]) for place in layers]
        logits, present = self.decoder(input_ids, memory, None, written)
        return logits, *(part for pair in present for part in pair)


class Seedling:
    """The family: image, text and audio in; embeddings and text out."""

    name = "seedling"
    task: str | None = "multimodal"

    def matches(self, config: Any) -> bool:
        """Return whether this is a seedling."""
        return bool(config.model_type == "seedling")

    def towers(self, net: Any) -> list[Tower]:
        """The five parts, and the table of word pieces."""
        sites = find_sites(net, net)
        table = sites.pop(TABLE)
        kept = frozenset({f"{TABLE}.weight"})
        owned = {name for name, _ in net.named_parameters()} - kept
        towers = []
        for name, (role, modality) in PARTS.items():
            part = net.get_submodule(name)
            mine = {path: site for path, site in sites.items() if path.startswith(f"{name}.")}
            beside = {path for path in owned if "." not in path} if name == "text" else set()
            parameters = frozenset({path for path in owned if path.startswith(f"{name}.")} | beside)
            mixed: dict[str, Any] = {}
            if name == "fusion":
                mixed = {"origins": partial(_origins, net), "loss": partial(_loss, net)}
            run = partial(_run, net, name)
            towers.append(Tower(name, role, modality, part, run, tuple(part.layers), mine, parameters, **mixed))
        run = partial(_run, net, "text")
        towers.append(Tower("embedding", "embedding", "text", table.module, run, (), {table.name: table}, kept))
        return towers

    def components(self, net: Any) -> list[Component]:
        """Five graphs; batch, tokens and frames may vary."""
        config, source = net.config, torch.Generator().manual_seed(0)
        heads, width = config.num_attention_heads, config.hidden_size // config.num_attention_heads
        side, layers = config.image_size, config.decoder_layers
        pixels = torch.randn(2, 3, side, side, generator=source)
        count, frames = _probe_lengths(config)
        written, before = example_lengths(config.max_answer_tokens)
        words = torch.randint(5, config.vocab_size, (2, count), generator=source)
        sounds = torch.randn(2, config.num_mel_bins, frames, generator=source)
        tokens = torch.randn(2, (side // 16) ** 2 + count, config.hidden_size, generator=source)
        memory = tuple(f"present.{n}.encoder.{part}" for n in range(layers) for part in ("key", "value"))
        grown = tuple(f"present.{n}.decoder.{part}" for n in range(layers) for part in ("key", "value"))
        past: dict[str, Tensor] = {"input_ids": torch.randint(5, config.vocab_size, (2, written), generator=source)}
        axes: dict[str, dict[int, str]] = {"input_ids": {0: "batch", 1: "tokens"}}
        for layer in range(layers):
            for whose, length, axis in (("decoder", before, "past"), ("encoder", tokens.shape[1], "frames")):
                for part in ("key", "value"):
                    name = f"past_key_values.{layer}.{whose}.{part}"
                    past[name] = torch.randn(2, heads, length, width, generator=source)
                    axes[name] = {0: "batch", 2: axis}
        return [
            Component("vision_model", TowerGraph(net.image), {"pixel_values": pixels}, ("image_tokens", "image_embeds"),
                      {"pixel_values": {0: "batch"}}, "image"),
            Component("text_model", TowerGraph(net.text), {"input_ids": words}, ("text_tokens", "text_embeds"),
                      {"input_ids": {0: "batch", 1: "tokens"}}, "text"),
            Component("audio_model", TowerGraph(net.audio), {"input_features": sounds},
                      ("audio_tokens", "audio_embeds"), {"input_features": {0: "batch", 2: "8*frames"}}, "audio"),
            Component("fusion_model", FusionGraph(net.fusion), {"tokens": tokens}, memory,
                      {"tokens": {0: "batch", 1: "frames"}}, "fusion"),
            Component("decoder_with_past_model", DecoderGraph(net.decoder), past, ("logits", *grown), axes, "decoder"),
        ]  # fmt: skip

    def settings(self, net: Any, folder: Path | None) -> dict[str, Any]:
        """Front ends, special tokens and lengths, read from the checkpoint."""
        return seedling_settings(net, folder)

    def batches(self, settings: Mapping[str, Any], folder: Path, rows: Iterable[Row]) -> Iterator[Batch]:
        """Everything that a scene's rows hold, one task at a time."""
        yield from seedling_inputs(settings, folder, rows)

    def probe(self, net: Any, seed: int) -> Batch:
        """Noise to see and to hear, arbitrary words to read and to write."""
        source = torch.Generator().manual_seed(seed)
        side, (count, frames) = net.config.image_size, _probe_lengths(net.config)
        said = min(count, net.config.max_answer_tokens)
        return {
            "pixel_values": torch.randn(1, 3, side, side, generator=source),
            "input_ids": torch.randint(5, net.config.vocab_size, (1, count), generator=source),
            "input_features": torch.randn(1, net.config.num_mel_bins, frames, generator=source),
            "decoder_input_ids": torch.randint(5, net.config.vocab_size, (1, said), generator=source),
            "fused": torch.tensor([True, True, True]),
        }


def _probe_lengths(config: Any) -> tuple[int, int]:
    """Tokens and frames of synthetic inputs: no more than there are positions for."""
    from penjing.seedling.towers import FRAMES_PER_TOKEN

    frames = min(PROBE_FRAMES, config.max_audio_frames // FRAMES_PER_TOKEN * FRAMES_PER_TOKEN)
    return min(PROBE_TOKENS, config.max_text_tokens), frames


def _run(net: Any, name: str, batch: Batch) -> Any:
    """Run one tower on a batch, and what it needs of the others before it.

    `fused` (3,) says which of picture, text and sound belong to the task of this batch.
    """
    verbs = {"image": (net.see, "pixel_values"), "text": (net.read, "input_ids"), "audio": (net.hear, "input_features")}
    if name in verbs:
        verb, key = verbs[name]
        return verb(batch[key])[::2]
    there = zip(verbs.values(), batch["fused"].tolist(), strict=True)
    memory, _ = net.fuse([verb(batch[key]) for (verb, key), wanted in there if wanted])
    return memory if name == "fusion" else net.decoder(batch["decoder_input_ids"], memory)[0]


def _origins(net: Any, batch: Batch) -> Tensor:
    """Which modality each token that the fusion reads is of: 0 the picture, 1 text, 2 sound."""
    from penjing.seedling.towers import FRAMES_PER_TOKEN

    side = net.config.image_size // 16
    counts = (side * side, batch["input_ids"].shape[1], batch["input_features"].shape[2] // FRAMES_PER_TOKEN)
    there = batch["fused"].tolist()
    return torch.cat([torch.full((count,), kind) for kind, count in enumerate(counts) if there[kind]])


def _loss(net: Any, batch: Batch) -> Tensor:
    """Of writing what the batch says is written."""
    logits = _run(net, "decoder", batch)
    return nn.functional.cross_entropy(logits[0, :-1], batch["decoder_input_ids"][0, 1:])
