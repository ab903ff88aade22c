"""What the shop must know about a dual encoder, read from the checkpoint's own files, and calibration inputs.

The settings are plain JSON. Front ends are None where the folder has no such file.

- `image`: settings of ImageFrontEnd, `audio`: settings of ClapMel (one of the two is None)
- `text`: settings of TextFrontEnd
- `logit_scale`: factor of the cosine, not its logarithm; `logit_bias`: added after it (SigLIP)
- `embed_dim`: width of the embeddings
- `normalise`: true, because the graphs give embeddings as they leave the projection: divide them by their length
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from penjing.data.audio import read_audio
from penjing.data.image_settings import image_settings
from penjing.data.mel import ClapMel
from penjing.data.row import Row
from penjing.data.text import TextFrontEnd
from penjing.errors import DataError, ModelError
from penjing.models.front_ends import front_end_file, longest_text, see, text_settings, tokenizer_json
from penjing.models.tower import Batch

AUDIO_KEYS = (
    *("feature_size", "sampling_rate", "hop_length", "fft_window_size", "max_length_s"),
    *("frequency_min", "frequency_max", "truncation", "padding"),
)


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
    """How this checkpoint's tokenizer pads, cuts and lower-cases."""
    full = reads_padding(net.config)
    inputs = ["input_ids"] if full else ["input_ids", "attention_mask"]
    longest = longest_text(net.config.text_config, net.text_model.embeddings)
    return text_settings(folder, inputs, longest, "max_length" if full else "longest")


def dual_inputs(settings: Mapping[str, Any], folder: Path, rows: Iterable[Row]) -> Iterator[Batch]:
    """Yield one picture or sound with its text per batch."""
    media = "image" if settings.get("image") else "audio"
    if not settings.get(media) or not settings.get("text"):
        missing = "tokenizer.json" if settings.get(media) else "preprocessor_config.json"
        raise ModelError(f"{folder}: no {missing}, so data cannot be fed to it", hint="copy it from the original model")
    with ExitStack() as kept:
        read_text = TextFrontEnd(tokenizer_json(folder, kept), settings["text"])
        read_media = see(settings["image"]) if media == "image" else _hear(settings["audio"])
        for row in rows:
            text = row.fields.get("text") or row.fields.get("label")
            if row.file is None or row.media != media or text is None:
                wanted = "text" if text is None else media
                raise DataError(
                    f"row {row.id!r} has no {wanted}", hint=f"a dual encoder is fed with {media}s and texts"
                )
            words = {name: torch.from_numpy(values) for name, values in read_text([text]).items()}
            yield {**read_media(row.file), **words}


def _hear(settings: Mapping[str, Any]) -> Any:
    front_end = ClapMel(settings)

    def hear(file: Path | bytes) -> dict[str, torch.Tensor]:
        features, is_longer = front_end(read_audio(file, front_end.rate_hz))
        return {"input_features": torch.from_numpy(features)[None], "is_longer": torch.tensor([[bool(is_longer)]])}

    return hear
