"""What the shop must know about a Whisper: front end, special tokens, lengths; and calibration inputs made with it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from penjing.data.audio import read_audio
from penjing.data.mel import WhisperMel
from penjing.data.row import Row
from penjing.data.speech_prompt import frames_for, prompt_tokens
from penjing.errors import ModelError
from penjing.models.checkpoint import read_json
from penjing.models.families.whisper_tokens import special_tokens, suppressed_tokens
from penjing.models.front_ends import checkpoint_tokenizer
from penjing.models.tower import Batch


def speech_settings(net: Any, folder: Path | None) -> dict[str, Any]:
    """Read front end and special tokens from the checkpoint's own files."""
    generation, config = net.generation_config, net.config
    return {
        "audio": _audio_settings(config, folder),
        "generation": {
            **special_tokens(net, folder),
            "eos": _first(config.eos_token_id if generation.eos_token_id is None else generation.eos_token_id),
            **suppressed_tokens(net, folder),
            "max_tokens": int(config.max_target_positions),
        },
        "decoder": {
            "layers": config.decoder_layers,
            "heads": config.decoder_attention_heads,
            "head_width": config.d_model // config.decoder_attention_heads,
        },
        "max_frames": int(config.max_source_positions) * 2,
    }


def _first(token: int | list[int]) -> int:
    return token[0] if isinstance(token, list) else token


def _audio_settings(config: Any, folder: Path | None) -> dict[str, Any]:
    """Keep what the mel front end reads of preprocessor_config.json; the class's own defaults where a key is
    missing.
    """
    path = (folder / "preprocessor_config.json") if folder else None
    found = read_json(path) if path and path.exists() else {}
    settings = {
        "feature_size": int(found.get("feature_size", config.num_mel_bins)),
        "sampling_rate": int(found.get("sampling_rate", 16000)),
        "hop_length": int(found.get("hop_length", 160)),
        "n_fft": int(found.get("n_fft", 400)),
    }
    if settings["feature_size"] != config.num_mel_bins:
        raise ModelError(
            f"preprocessor_config.json says {settings['feature_size']} mel bands, config.json {config.num_mel_bins}",
            hint="take both files from the same checkpoint",
        )
    return settings


def speech_inputs(settings: Mapping[str, Any], folder: Path, rows: Iterable[Row]) -> Iterator[Batch]:
    """One clip per batch: features at the length the clip needs; prompt, transcript and its end for the decoder."""
    mel, tokenizer = WhisperMel(settings["audio"]), checkpoint_tokenizer(folder)
    rate_hz, generation = settings["audio"]["sampling_rate"], settings["generation"]
    for row in rows:
        samples = read_audio(row.file, rate_hz)[: 30 * rate_hz]  # type: ignore[arg-type]
        features = mel(samples, frames_for(samples.size, settings))
        words = tokenizer.encode(" " + row.fields.get("text", ""), add_special_tokens=False).ids
        tokens = [*prompt_tokens(generation, row.fields.get("language")), *words, generation["eos"]]
        limit = generation["max_tokens"]
        yield {
            "input_features": torch.from_numpy(features)[None],
            "decoder_input_ids": torch.tensor([tokens[:limit]], dtype=torch.int64),
        }
