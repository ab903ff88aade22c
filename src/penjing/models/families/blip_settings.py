"""What the shop must know about a BLIP, as plain JSON, and calibration inputs made with it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from penjing.data.image import ImageFrontEnd, read_image
from penjing.data.image_settings import image_settings
from penjing.data.row import Row
from penjing.data.text import TextFrontEnd, open_tokenizer
from penjing.errors import DataError, ModelError
from penjing.models.front_ends import front_end_file, text_settings, tokenizer_json
from penjing.models.tower import Batch


def blip_settings(net: Any, folder: Path | None) -> dict[str, Any]:
    """Front ends (None where the folder has no file for them), start and end of a text, the decoder's shape."""
    text = net.config.text_config
    found = front_end_file(folder, "image_processor")
    return {
        "image": None if found is None else image_settings(found),
        "text": text_settings(folder, ["input_ids"], int(text.max_position_embeddings)),
        "generation": {"start": text.bos_token_id, "eos": [text.sep_token_id]},
        "decoder": {
            "layers": text.num_hidden_layers,
            "heads": text.num_attention_heads,
            "head_width": text.hidden_size // text.num_attention_heads,
        },
        "context_tokens": text.max_position_embeddings,
    }


def blip_inputs(settings: Mapping[str, Any], folder: Path, rows: Iterable[Row], *, asks: bool) -> Iterator[Batch]:
    """A picture and what is written about it; where it answers, the question besides. Other rows are left out."""
    if not settings.get("image") or not settings.get("text"):
        missing = "tokenizer.json" if settings.get("image") else "preprocessor_config.json"
        raise ModelError(f"{folder}: no {missing}, so data cannot be fed to it", hint="copy it from the original model")
    wanted = "answer" if asks else "text"
    begun = False
    with ExitStack() as kept:
        path = tokenizer_json(folder, kept)
        see, read, words = ImageFrontEnd(settings["image"]), TextFrontEnd(path, settings["text"]), open_tokenizer(path)
        words.no_truncation()
        for row in rows:
            if row.image is None:
                raise DataError(f"row {row.id!r} has no image", hint="this model is fed with pictures and texts")
            if wanted not in row.fields or ("question" in row.fields) != asks:
                continue
            begun = True
            told = row.fields[wanted].lower() if settings["text"]["lower"] else row.fields[wanted]
            written = words.encode(told, add_special_tokens=False).ids[: settings["context_tokens"] - 2]
            tokens = torch.tensor([[settings["generation"]["start"], *written, *settings["generation"]["eos"]]])
            seen = {"pixel_values": torch.from_numpy(see(read_image(row.image)))[None]}
            if asks:
                question = torch.from_numpy(read([row.fields["question"]])["input_ids"])
                yield {**seen, "input_ids": question, "decoder_input_ids": tokens}
            else:
                yield {**seen, "input_ids": tokens}
    if not begun:
        needed = "a `question` and an `answer`" if asks else "a `text`"
        raise DataError("no row to calibrate with", hint=f"give pictures with {needed}")
