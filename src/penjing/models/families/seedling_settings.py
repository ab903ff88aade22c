"""What the shop must know about a seedling, and calibration inputs made with it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from penjing.data.audio import read_audio
from penjing.data.image import ImageFrontEnd, read_image
from penjing.data.image_settings import image_settings
from penjing.data.normal_mel import NormalMel
from penjing.data.row import Row
from penjing.data.text import TextFrontEnd
from penjing.errors import DataError
from penjing.models.checkpoint import read_json
from penjing.models.tower import Batch

MEL_KEYS = ("feature_size", "sampling_rate", "mean", "std", "frame_multiple", "longest_s")


def seedling_settings(net: Any, folder: Path | None) -> dict[str, Any]:
    """Front ends (None where the folder has none), tasks, special tokens and the decoder's shape, as plain JSON."""
    config = net.config
    path = folder / "processor_config.json" if folder else None
    found = read_json(path) if path and path.is_file() else {}
    heard = found.get("feature_extractor")
    return {
        "image": image_settings(found["image_processor"]) if found.get("image_processor") else None,
        "audio": {key: heard[key] for key in MEL_KEYS} if heard else None,
        "text": {
            "inputs": ["input_ids"],
            "max_length": config.max_text_tokens,
            "padding": "longest",
            "pad_id": config.pad_token_id,
            "pad_token": "<|pad|>",
            "pad_side": "right",
            "lower": False,
        },
        "generation": {
            "tasks": dict(config.task_token_ids),
            "eos": config.eos_token_id,
            "max_tokens": config.max_answer_tokens,
        },
        "decoder": {
            "layers": config.decoder_layers,
            "heads": config.num_attention_heads,
            "head_width": config.hidden_size // config.num_attention_heads,
        },
        "embed_dim": config.embedding_size,
    }


def seedling_inputs(settings: Mapping[str, Any], folder: Path, rows: Iterable[Row]) -> Iterator[Batch]:
    """One batch per thing a row can be used for: its caption, its transcript, its answer.

    Every batch has inputs for all towers; what a row lacks is left from an earlier one, and `fused` says what
    belongs to the task. Rows from which no modality can be had at all are a DataError.
    """
    see, hear = ImageFrontEnd(settings["image"]), NormalMel(settings["audio"])
    read = TextFrontEnd(folder / "tokenizer.json", settings["text"])
    latest: dict[str, torch.Tensor] = {}
    begun = False
    for row in rows:
        if row.image is not None:
            latest["pixel_values"] = torch.from_numpy(see(read_image(row.image)))[None]
        if row.sound is not None:
            latest["input_features"] = torch.from_numpy(hear(read_audio(row.sound, hear.rate_hz)))[None]
        text = row.fields.get("question") or row.fields.get("text")
        if text:
            latest["input_ids"] = torch.from_numpy(read([text])["input_ids"])
        if len(latest) < 3:
            continue
        for task, fused, words in _uses(row):
            begun = True
            written = [settings["generation"]["tasks"][task], *read([words])["input_ids"][0].tolist()]
            tokens = torch.tensor([written[: settings["generation"]["max_tokens"]]])
            yield {**latest, "decoder_input_ids": tokens, "fused": torch.tensor(fused)}
    if not begun:
        raise DataError(
            "no row to calibrate with",
            hint="this model needs pictures, texts and sounds; the built-in set `scenes` has all three",
        )


def _uses(row: Row) -> Iterator[tuple[str, tuple[bool, bool, bool], str]]:
    """Task, whether picture, text and sound belong to it, and what is written."""
    spoken = row.fields.get("question") or row.fields.get("text")
    if row.sound is not None and spoken:
        yield "transcribe", (False, False, True), spoken
    if row.image is not None and "answer" in row.fields:
        heard = row.sound is not None
        yield "answer", (True, not heard, heard), row.fields["answer"]
    elif row.image is not None and "text" in row.fields:
        yield "caption", (True, False, False), row.fields["text"]
