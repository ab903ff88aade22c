"""Whisper and its distilled kin: an audio encoder, a text decoder that listens to it, one table for words.

Two graphs leave this family. `encoder_model` runs once per clip, on the length the clip needs, and gives the
cross-attention keys and values of every decoder layer; their projections therefore count as the encoder's sites
although the checkpoint keeps them in the decoder. `decoder_with_past_model` reads one or a few tokens and the keys
and values so far.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from penjing.data.row import Row
from penjing.data.speech_prompt import silent_frames
from penjing.layers.merging import Compact, compact_of
from penjing.models.families.whisper_settings import speech_inputs, speech_settings
from penjing.models.family import Component
from penjing.models.inputs import example_lengths
from penjing.models.tower import Batch, Site, Tower, find_sites
from penjing.tensor.merge import take

CROSS_PROJECTIONS = ("k_proj", "v_proj")
PROBE_FRAMES = 400
PROBE_TOKENS = 8


class Listener(nn.Module):
    """Encoder and cross-attention projections. input_features (batch, mels, frames) -> (k, v) per decoder layer.

    Each is (batch, heads, frames / 2, head width). Frames may be any even number up to the model's 3,000: positions
    are cut to the clip, nothing is padded to 30 s.
    """

    def __init__(self, encoder: nn.Module, decoder_layers: Iterable[nn.Module]) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder_layers = nn.ModuleList(decoder_layers)

    def forward(self, input_features: Tensor) -> tuple[Tensor, ...]:
        """Run the encoder without its fixed-length check."""
        encoder: Any = self.encoder
        hidden = nn.functional.gelu(encoder.conv1(input_features))
        hidden = nn.functional.gelu(encoder.conv2(hidden)).transpose(1, 2)
        hidden = hidden + encoder.embed_positions.weight[: hidden.shape[1]]
        for layer in encoder.layers:
            output = layer(hidden, None)
            hidden = output[0] if isinstance(output, tuple) else output
        merged = compact_of(hidden)
        hidden = encoder.layer_norm(hidden if merged is None else merged.hidden)
        return tuple(
            _restored(_heads(getattr(layer.encoder_attn, projection)(hidden), layer.encoder_attn), merged)
            for layer in self.decoder_layers
            for projection in CROSS_PROJECTIONS
        )


class Speller(nn.Module):
    """One decoder step. input_ids (batch, tokens) and flat past keys and values -> logits and the grown past.

    `past` holds, per layer, the decoder's key and value (batch, heads, past, width) and the encoder's (batch,
    heads, frames, width); only the decoder's grow and are returned.
    """

    def __init__(self, decoder: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.decoder = decoder
        self.head = head

    def forward(self, input_ids: Tensor, past: list[Tensor]) -> tuple[Tensor, ...]:
        """Read the tokens after the past ones, causally among themselves."""
        decoder: Any = self.decoder
        count, before = input_ids.shape[1], past[0].shape[2]
        positions = torch.arange(before, before + count, device=input_ids.device)
        hidden = decoder.embed_tokens(input_ids) + decoder.embed_positions.weight[positions]
        mask = torch.arange(before + count)[None, :] <= positions[:, None]
        present: list[Tensor] = []
        for index, layer in enumerate(decoder.layers):
            key, value, cross_key, cross_value = past[4 * index : 4 * index + 4]
            normed = layer.self_attn_layer_norm(hidden)
            key = torch.cat([key, _heads(layer.self_attn.k_proj(normed), layer.self_attn)], 2)
            value = torch.cat([value, _heads(layer.self_attn.v_proj(normed), layer.self_attn)], 2)
            present += [key, value]
            hidden = hidden + _attend(layer.self_attn, normed, key, value, mask)
            normed = layer.encoder_attn_layer_norm(hidden)
            hidden = hidden + _attend(layer.encoder_attn, normed, cross_key, cross_value, None)
            normed = layer.final_layer_norm(hidden)
            hidden = hidden + layer.fc2(layer.activation_fn(layer.fc1(normed)))
        return self.head(decoder.layer_norm(hidden)), *present


def _restored(values: Tensor, merged: Compact | None) -> Tensor:
    """Give every frame of the clip what its token has: (batch, heads, tokens, width) -> (batch, heads, frames, width).

    Behind the projections and the parting of heads, so that both work on tokens and frames are written once.
    """
    if merged is None:
        return values
    batch, heads, _, width = values.shape
    rows = merged.rows[:, None].expand(-1, heads, -1).flatten(0, 1)
    return take(values.flatten(0, 1), rows).view(batch, heads, -1, width)


def _heads(values: Tensor, attention: Any) -> Tensor:
    """(batch, tokens, width) -> (batch, heads, tokens, head width)."""
    batch, tokens, _ = values.shape
    return values.view(batch, tokens, attention.num_heads, attention.head_dim).transpose(1, 2)


def _attend(attention: Any, values: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    """softmax(Q Kᵀ / √d) V and the output projection.

    Spelled out, and the scale on Q alone, before its heads part: a fused operator exports as a scaling and a
    transposition of all keys, and ONNX Runtime fuses a scale beside the product into one that copies all keys. Either
    costs a decoder that reads one token a quarter of its time.
    """
    query = _heads(attention.q_proj(values) * attention.head_dim**-0.5, attention)
    scores = query @ key.transpose(2, 3)
    if mask is not None:
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    mixed = torch.softmax(scores, -1) @ value
    return attention.out_proj(mixed.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


class Whisper:
    """The family: speech in, text out, with a key-value cache."""

    name = "whisper"
    task = "speech-seq2seq"

    def matches(self, config: Any) -> bool:
        """Return whether this is a Whisper checkpoint with its decoder."""
        return config.model_type == "whisper" and "WhisperForConditionalGeneration" in (config.architectures or [])

    def towers(self, net: Any) -> list[Tower]:
        """Encoder (with the cross-attention projections), decoder, and the one table of words."""
        encoder, decoder = net.model.encoder, net.model.decoder
        listener = Listener(encoder, decoder.layers)
        heard, spelled = find_sites(net, encoder), find_sites(net, decoder)
        cross = {name: spelled.pop(name) for name in list(spelled) if _is_cross(name)}
        table = spelled.pop("model.decoder.embed_tokens")
        head = Site("proj_out", "linear", net, "proj_out")
        tied = net.proj_out.weight is decoder.embed_tokens.weight
        table = Site(table.name, "embedding", table.parent, table.attribute, (head,) if tied else ())
        towers = [
            _tower(net, "encoder", listener, heard | cross),
            _tower(net, "decoder", decoder, spelled),
            Tower("embedding", "embedding", "text", decoder.embed_tokens, _run_decoder(net), (), {table.name: table},
                  frozenset({f"{table.name}.weight"})),
        ]  # fmt: skip
        if not tied:
            owned = frozenset(f"proj_out.{name}" for name, _ in net.proj_out.named_parameters())
            towers.append(Tower("head", "head", "text", net.proj_out, _run_decoder(net), (), {head.name: head}, owned))
        return towers

    def components(self, net: Any) -> list[Component]:
        """The two graphs; every axis that varies is dynamic, the number of past tokens may be 0."""
        listener = Listener(net.model.encoder, net.model.decoder.layers)
        speller = Speller(net.model.decoder, net.proj_out)
        config = net.config
        names = [f"{i}.{{}}.{part}" for i in range(config.decoder_layers) for part in ("key", "value")]
        rng = torch.Generator().manual_seed(0)
        frames = _probe_frames(config)
        features = torch.randn(2, config.num_mel_bins, frames, generator=rng)
        heads, (tokens, past) = config.decoder_attention_heads, example_lengths(config.max_target_positions)
        token_ids = torch.randint(0, config.vocab_size, (2, tokens), generator=rng)
        inputs: dict[str, Tensor] = {"input_ids": token_ids}
        dynamic: dict[str, dict[int, str]] = {"input_ids": {0: "batch", 1: "tokens"}}
        for layer in range(config.decoder_layers):
            for side, length, axis in (("decoder", past, "past"), ("encoder", frames // 2, "frames")):
                for part in ("key", "value"):
                    name = f"past_key_values.{layer}.{side}.{part}"
                    inputs[name] = torch.randn(2, heads, length, config.d_model // heads, generator=rng)
                    dynamic[name] = {0: "batch", 2: axis}
        heard_names = tuple("present." + name.format("encoder") for name in names)
        grown_names = tuple("present." + name.format("decoder") for name in names)
        return [
            Component("encoder_model", listener, {"input_features": features}, heard_names,
                      {"input_features": {0: "batch", 2: "2*frames"}}, "encoder"),
            Component("decoder_with_past_model", speller, inputs, ("logits", *grown_names), dynamic, "decoder"),
        ]  # fmt: skip

    def settings(self, net: Any, folder: Path | None) -> dict[str, Any]:
        """Front end, special tokens and lengths, read from the checkpoint."""
        return speech_settings(net, folder)

    def batches(self, settings: Mapping[str, Any], folder: Path, rows: Iterable[Row]) -> Iterator[Batch]:
        """Clips at the length they need, with their transcripts behind the prompt."""
        yield from speech_inputs(settings, folder, rows)

    def probe(self, net: Any, seed: int) -> Batch:
        """Noise and arbitrary words."""
        source, config = torch.Generator().manual_seed(seed), net.config
        words = torch.randint(
            0, config.vocab_size, (1, min(PROBE_TOKENS, config.max_target_positions)), generator=source
        )
        return {
            "input_features": torch.randn(1, config.num_mel_bins, _probe_frames(config), generator=source),
            "decoder_input_ids": words,
        }


def _probe_frames(config: Any) -> int:
    """Frames of synthetic sound: an even number, below the most that the encoder has positions for (two frames each).

    The silence that the decoder's tower hears behind a clip has to fit as well.
    """
    most = 2 * int(config.max_source_positions)
    return min(PROBE_FRAMES, max(2, most // 4 * 2))


def _is_cross(name: str) -> bool:
    """Return whether this site projects what the encoder heard for a decoder layer, or is a part of one that does."""
    return any(f".encoder_attn.{projection}." in f"{name}." for projection in CROSS_PROJECTIONS)


def _tower(net: Any, name: str, module: nn.Module, sites: dict[str, Site]) -> Tower:
    """Build encoder or decoder; position tables are told apart, the cross projections' parameters follow their
    sites.
    """
    side: Any = net.model.encoder if name == "encoder" else net.model.decoder
    marked = {
        key: Site(site.name, "position", site.parent, site.attribute) if key.endswith("embed_positions") else site
        for key, site in sites.items()
    }
    owned = set()
    for key, _ in net.named_parameters():
        place = key.rpartition(".")[0]
        if (
            key.startswith(f"model.{name}.")
            and not key.startswith("model.decoder.embed_tokens")
            and not _is_cross(place)
        ):
            owned.add(key)
        if name == "encoder" and _is_cross(place):
            owned.add(key)
    run = _run_encoder(net, module) if name == "encoder" else _run_decoder(net)
    modality: Any = "audio" if name == "encoder" else "text"
    role: Any = name
    return Tower(name, role, modality, module, run, tuple(side.layers), marked, frozenset(owned))


def _run_encoder(net: Any, listener: nn.Module) -> Any:
    return lambda batch: listener(batch["input_features"])


def _and_silence(features: Tensor, count: int) -> Tensor:
    """Frames (batch, mels, frames) with so many of silence behind, which is as low as a clip's quietest place."""
    floor = features.amin((1, 2), keepdim=True).expand(-1, features.shape[1], count)
    return torch.cat([features, floor], 2)


def _run_decoder(net: Any) -> Any:
    """Teacher-forced: the encoder hears the clip and silence after it, the decoder reads the transcript.

    Without silence a decoder does not know where to stop, and what it says is nothing to measure or learn by.
    """

    def run(batch: Batch) -> Tensor:
        encoder = net.model.encoder
        listener = Listener(encoder, [])
        hidden: list[Tensor] = []
        hook = encoder.layer_norm.register_forward_hook(lambda module, args, output: hidden.append(output))
        try:
            features = batch["input_features"]
            listener(_and_silence(features, silent_frames(features.shape[2], speech_settings(net, None))))
        finally:
            hook.remove()
        decoded = net.model.decoder(
            input_ids=batch["decoder_input_ids"], encoder_hidden_states=hidden[0], use_cache=False
        )
        return net.proj_out(decoded.last_hidden_state)  # type: ignore[no-any-return]

    return run
