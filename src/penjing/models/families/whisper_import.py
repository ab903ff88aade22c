"""Turn a Whisper in CTranslate2's layout into a plain transformers checkpoint, so that it can be compressed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from penjing.errors import ModelError
from penjing.models.checkpoint import read_json
from penjing.models.ctranslate2 import read_arrays
from penjing.models.network import quiet
from penjing.values import Array

ENGLISH_ONLY_VOCABULARY = 51864
HEAD_WIDTH = 64
TRANSLATE, TRANSCRIBE = "<|translate|>", "<|transcribe|>"


def import_whisper(source: Path, out: Path) -> Path:
    """Read `model.bin`, `config.json` and `tokenizer.json` of `source`, write a transformers folder to `out`."""
    from transformers import (
        WhisperConfig,
        WhisperFeatureExtractor,
        WhisperForConditionalGeneration,
        WhisperTokenizerFast,
    )

    for name in ("model.bin", "config.json", "tokenizer.json"):
        if not (source / name).is_file():
            raise ModelError(f"{source} has no {name}", hint="give a folder of a Whisper converted by CTranslate2")
    arrays = read_arrays(source / "model.bin")
    if any(array.dtype == np.int8 and array.ndim > 1 for array in arrays.values()):
        raise ModelError(f"{source} is quantized already", hint="give the float16 or float32 conversion")
    with quiet():
        net = WhisperForConditionalGeneration(WhisperConfig(**_config(arrays)))
        net.load_state_dict(dict(_weights(arrays, net.config)), strict=True)
        tokenizer = WhisperTokenizerFast(tokenizer_file=str(source / "tokenizer.json"))
        net.generation_config = _generation(net.config, tokenizer, read_json(source / "config.json"))
        net.save_pretrained(out)
        WhisperFeatureExtractor(feature_size=net.config.num_mel_bins).save_pretrained(out)
        tokenizer.save_pretrained(out)
    return out


def _config(arrays: dict[str, Array]) -> dict[str, Any]:
    """Read the sizes of the model off the shapes of its weights."""
    width, mels = arrays["encoder/conv1/weight"].shape[:2]
    vocabulary = arrays["decoder/embeddings/weight"].shape[0]
    english = vocabulary == ENGLISH_ONLY_VOCABULARY
    start, end = (50257, 50256) if english else (50258, 50257)
    return {
        "vocab_size": vocabulary,
        "num_mel_bins": mels,
        "d_model": width,
        "encoder_layers": _layers(arrays, "encoder"),
        "decoder_layers": _layers(arrays, "decoder"),
        "encoder_attention_heads": width // HEAD_WIDTH,
        "decoder_attention_heads": width // HEAD_WIDTH,
        "encoder_ffn_dim": arrays["encoder/layer_0/ffn/linear_0/weight"].shape[0],
        "decoder_ffn_dim": arrays["decoder/layer_0/ffn/linear_0/weight"].shape[0],
        "max_source_positions": arrays["encoder/position_encodings/encodings"].shape[0],
        "max_target_positions": arrays["decoder/position_encodings/encodings"].shape[0],
        "decoder_start_token_id": start,
        "bos_token_id": end,
        "eos_token_id": end,
        "pad_token_id": end,
    }


def _layers(arrays: dict[str, Array], side: str) -> int:
    return len(
        {
            name.split("/")[1]
            for name in arrays
            if name.startswith(f"{side}/layer_") and "norm" not in name.split("/")[1]
        }
    )


def _generation(config: Any, tokenizer: Any, listed: dict[str, Any]) -> Any:
    """Special tokens by their names in the tokenizer; suppressed tokens as the conversion lists them."""
    from transformers import GenerationConfig

    settings = {
        "decoder_start_token_id": config.decoder_start_token_id,
        "eos_token_id": config.eos_token_id,
        "pad_token_id": config.pad_token_id,
        "bos_token_id": config.bos_token_id,
        "max_length": config.max_target_positions,
        "is_multilingual": config.vocab_size != ENGLISH_ONLY_VOCABULARY,
        "no_timestamps_token_id": tokenizer.convert_tokens_to_ids("<|notimestamps|>"),
        "suppress_tokens": listed.get("suppress_ids", []),
        "begin_suppress_tokens": listed.get("suppress_ids_begin", []),
        "return_timestamps": False,
    }
    if settings["is_multilingual"]:
        languages = listed.get("lang_ids", [])
        settings["lang_to_id"] = {tokenizer.convert_ids_to_tokens(number): number for number in languages}
        settings["task_to_id"] = {
            token.strip("<|>"): tokenizer.convert_tokens_to_ids(token) for token in (TRANSCRIBE, TRANSLATE)
        }
    return GenerationConfig(**settings)


def _weights(arrays: dict[str, Array], config: Any) -> Iterator[tuple[str, Tensor]]:
    """Yield every tensor of the transformers model from CTranslate2's names; fused projections are cut apart."""

    def tensor(name: str) -> Tensor:
        return torch.from_numpy(arrays[name].astype(np.float32))

    def linear(source: str, target: str, parts: str = "", width: int = config.d_model) -> Iterator[tuple[str, Tensor]]:
        """One projection, or several fused ones; `k_proj` has no bias in Whisper."""
        weight, bias = tensor(f"{source}/weight"), tensor(f"{source}/bias")
        for place, part in enumerate(parts or " "):
            rows = slice(place * width, (place + 1) * width) if parts else slice(None)
            name = f"{target}{part}_proj" if parts else target
            yield f"{name}.weight", weight[rows]
            if part != "k":
                yield f"{name}.bias", bias[rows]

    def norm(source: str, target: str) -> Iterator[tuple[str, Tensor]]:
        yield f"{target}.weight", tensor(f"{source}/gamma")
        yield f"{target}.bias", tensor(f"{source}/beta")

    table = tensor("decoder/embeddings/weight")
    yield from (("model.decoder.embed_tokens.weight", table), ("proj_out.weight", table))
    for conv in ("conv1", "conv2"):
        yield from linear(f"encoder/{conv}", f"model.encoder.{conv}")
    for side, count in (("encoder", config.encoder_layers), ("decoder", config.decoder_layers)):
        yield f"model.{side}.embed_positions.weight", tensor(f"{side}/position_encodings/encodings")
        yield from norm(f"{side}/layer_norm", f"model.{side}.layer_norm")
        for index in range(count):
            source, target = f"{side}/layer_{index}", f"model.{side}.layers.{index}."
            yield from norm(f"{source}/self_attention/layer_norm", f"{target}self_attn_layer_norm")
            yield from linear(f"{source}/self_attention/linear_0", f"{target}self_attn.", "qkv")
            yield from linear(f"{source}/self_attention/linear_1", f"{target}self_attn.out_proj")
            yield from norm(f"{source}/ffn/layer_norm", f"{target}final_layer_norm")
            yield from linear(f"{source}/ffn/linear_0", f"{target}fc1")
            yield from linear(f"{source}/ffn/linear_1", f"{target}fc2")
            if side == "decoder":
                yield from norm(f"{source}/attention/layer_norm", f"{target}encoder_attn_layer_norm")
                yield from linear(f"{source}/attention/linear_0", f"{target}encoder_attn.q_proj")
                yield from linear(f"{source}/attention/linear_1", f"{target}encoder_attn.", "kv")
                yield from linear(f"{source}/attention/linear_2", f"{target}encoder_attn.out_proj")
