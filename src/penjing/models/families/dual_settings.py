"""What the shop must know about a dual encoder, read from the checkpoint's own files, and calibration inputs.

The settings are plain JSON. Front ends are None where the folder has no such file.

- `image`: settings of ImageFrontEnd, `audio`: settings of ClapMel (one of the two is None)
- `text`: settings of TextFrontEnd
- `logit_scale`: factor of the cosine, not its logarithm; `logit_bias`: added after it (SigLIP)
- `embed_dim`: width of the embeddings
- `normalise`: true, because the graphs give embeddings as they leave the projection: divide them by their length
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from penjing.data.audio import read_audio
from penjing.data.image import ImageFrontEnd, read_image
from penjing.data.image_settings import image_settings
from penjing.data.mel import ClapMel
from penjing.data.row import Row
from penjing.data.text import TextFrontEnd
from penjing.errors import DataError, ModelError
from penjing.models.checkpoint import read_json
from penjing.models.network import quiet
from penjing.models.tower import Batch

AUDIO_KEYS = (
    *("feature_size", "sampling_rate", "hop_length", "fft_window_size", "max_length_s"),
    *("frequency_min", "frequency_max", "truncation", "padding"),
)
TOKENIZER_FILES = ("tokenizer.json", "vocab.json", "vocab.txt", "spiece.model", "sentencepiece.bpe.model")


def reads_padding(config: Any) -> bool:
    """Return whether the text side was trained on texts padded to full length, without a mask."""
    return bool(config.model_type == "siglip")


def dual_settings(net: Any, folder: Path | None) -> dict[str, Any]:
    """Read everything the shop must know, as plain JSON; see the top of this file."""
    sees = hasattr(net, "vision_model")
    scale = net.logit_scale if hasattr(net, "logit_scale") else net.logit_scale_a
    projected = getattr(net, "text_projection", None)
    width = net.config.text_config.projection_size if projected is None else net.config.projection_dim
    return {
        "image": _image(folder) if sees else None,
        "audio": None if sees else _audio(net, folder),
        "text": _text(net, folder),
        "logit_scale": float(scale.detach().exp()),
        "logit_bias": float(net.logit_bias.detach()) if hasattr(net, "logit_bias") else 0.0,
        "embed_dim": int(width),
        "normalise": True,
    }


def front_end_file(folder: Path | None, part: str) -> dict[str, Any] | None:
    """Read preprocessor_config.json, or the part of the processor_config.json that newer checkpoints have instead."""
    if folder is None:
        return None
    if (folder / "preprocessor_config.json").is_file():
        return read_json(folder / "preprocessor_config.json")
    if (folder / "processor_config.json").is_file():
        found = read_json(folder / "processor_config.json").get(part)
        return found if isinstance(found, dict) else None
    return None


def _image(folder: Path | None) -> dict[str, Any] | None:
    found = front_end_file(folder, "image_processor")
    return None if found is None else image_settings(found)


def _audio(net: Any, folder: Path | None) -> dict[str, Any] | None:
    """Keep what the mel front end reads; its truncation must be the one the network was built for."""
    found = front_end_file(folder, "feature_extractor")
    if found is None:
        return None
    settings = {key: found[key] for key in AUDIO_KEYS if found.get(key) is not None}
    settings.setdefault("sampling_rate", 48000)
    fused = net.config.audio_config.enable_fusion
    if (settings.setdefault("truncation", "fusion") == "fusion") != fused:
        raise ModelError(
            f"preprocessor_config.json truncates by {settings['truncation']!r}, config.json has enable_fusion {fused}",
            hint="take both files from the same checkpoint",
        )
    return settings


def _text(net: Any, folder: Path | None) -> dict[str, Any] | None:
    """Ask transformers how this checkpoint's tokenizer pads, cuts and lower-cases."""
    if folder is None or not any((folder / name).is_file() for name in TOKENIZER_FILES):
        return None
    tokenizer = open_fast(folder)
    positions = net.config.text_config.max_position_embeddings
    first = getattr(net.text_model.embeddings, "padding_idx", None)
    longest = positions if first is None else positions - first - 1
    full = reads_padding(net.config)
    return {
        "inputs": ["input_ids"] if full else ["input_ids", "attention_mask"],
        "max_length": min(int(longest), int(tokenizer.model_max_length)),
        "padding": "max_length" if full else "longest",
        "pad_id": int(tokenizer.pad_token_id or 0),
        "pad_token": str(tokenizer.pad_token or ""),
        "pad_side": tokenizer.padding_side,
        "lower": must_lower(folder, tokenizer),
    }


def open_fast(folder: Path) -> Any:
    """Open a checkpoint's tokenizer in its fast form, the only one that the shop can run."""
    import transformers

    with quiet():
        try:
            tokenizer: Any = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
        except Exception:  # a slow class whose own library is not installed
            tokenizer = None
        if getattr(tokenizer, "backend_tokenizer", None) is not None:
            return tokenizer
        if (folder / "tokenizer.json").is_file():
            return transformers.PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
    raise ModelError(f"{folder}: no fast tokenizer", hint="save one there: its tokenizer.json is what runs later")


def must_lower(folder: Path, tokenizer: Any) -> bool:
    """Return whether transformers lower-cases although tokenizer.json, read by itself, does not."""
    from tokenizers import Tokenizer

    path = folder / "tokenizer.json"
    return path.is_file() and _lowers(tokenizer.backend_tokenizer) and not _lowers(Tokenizer.from_file(str(path)))


def _lowers(tokenizer: Any) -> bool:
    return tokenizer.normalizer is not None and "a" in tokenizer.normalizer.normalize_str("A")


def dual_inputs(settings: Mapping[str, Any], folder: Path, rows: Iterable[Row]) -> Iterator[Batch]:
    """Yield one picture or sound with its text per batch."""
    media = "image" if settings.get("image") else "audio"
    if not settings.get(media) or not settings.get("text"):
        missing = "tokenizer.json" if settings.get(media) else "preprocessor_config.json"
        raise ModelError(f"{folder}: no {missing}, so data cannot be fed to it", hint="copy it from the original model")
    with ExitStack() as kept:
        read_text = TextFrontEnd(tokenizer_json(folder, kept), settings["text"])
        read_media = _see(settings["image"]) if media == "image" else _hear(settings["audio"])
        for row in rows:
            text = row.fields.get("text") or row.fields.get("label")
            if row.file is None or row.media != media or text is None:
                wanted = "text" if text is None else media
                raise DataError(
                    f"row {row.id!r} has no {wanted}", hint=f"a dual encoder is fed with {media}s and texts"
                )
            words = {name: torch.from_numpy(values) for name, values in read_text([text]).items()}
            yield {**read_media(row.file), **words}


def _see(settings: Mapping[str, Any]) -> Any:
    front_end = ImageFrontEnd(settings)
    return lambda file: {"pixel_values": torch.from_numpy(front_end(read_image(file)))[None]}


def _hear(settings: Mapping[str, Any]) -> Any:
    front_end = ClapMel(settings)

    def hear(file: Path | bytes) -> dict[str, torch.Tensor]:
        features, is_longer = front_end(read_audio(file, front_end.rate_hz))
        return {"input_features": torch.from_numpy(features)[None], "is_longer": torch.tensor([[bool(is_longer)]])}

    return hear


def tokenizer_json(folder: Path, kept: ExitStack) -> Path:
    """Return the checkpoint's tokenizer.json, or one made from its older files that lives as long as `kept`."""
    if (folder / "tokenizer.json").is_file():
        return folder / "tokenizer.json"
    made = Path(kept.enter_context(tempfile.TemporaryDirectory())) / "tokenizer.json"
    made.write_text(json.dumps(json.loads(open_fast(folder).backend_tokenizer.to_str())), encoding="utf8")
    return made
