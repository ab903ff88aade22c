"""What runners rely on in the settings of an artifact, checked before one is put together.

Settings come from whoever wrote the artifact. Their types, and limits on everything that decides how much memory or
time a front end takes, are written down here once; the classes that read them (`ImageFrontEnd`, `WhisperMel`,
`TextFrontEnd`, `VisionPrompt` …) need not doubt them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from penjing.data.chat import ROLES
from penjing.data.image import FILTERS
from penjing.errors import ArtifactError
from penjing.typed_json import (
    Check,
    WrongValue,
    choice,
    either,
    fields,
    listed,
    nullable,
    number,
    table,
    text,
    truth,
    whole,
)

LARGEST_SIDE = 8192
"""Pixels; published models look at 224 to 1,536."""
LARGEST_VOCABULARY = 2**26
LONGEST_TEXT = 2**24
"""Tokens; the longest contexts that are published have ten million."""

TOKEN = whole(0, LARGEST_VOCABULARY)
TOKENS = listed(TOKEN)
SIDE = whole(1, LARGEST_SIDE)
SIZE = either(fields({"height": SIDE, "width": SIDE}), fields({"shortest_edge": SIDE}))
CHANNELS = listed(number(-1e6, 1e6), 3, 3)
DEVIATIONS = listed(number(1e-9, 1e6), 3, 3)
SCALE = number(0, 1e6)
FILTER = choice(*FILTERS)

PICTURE = fields(
    {},
    {
        "resize": nullable(SIZE),
        "resample": nullable(FILTER),
        "crop": nullable(fields({"height": SIDE, "width": SIDE})),
        "scale": nullable(SCALE),
        "mean": nullable(CHANNELS),
        "std": nullable(DEVIATIONS),
    },
)
TILES = fields(
    {
        "longest": nullable(SIDE),
        "tile": whole(8, LARGEST_SIDE),
        "split": truth,
        "resample": FILTER,
        "scale": nullable(SCALE),
        "mean": nullable(CHANNELS),
        "std": nullable(DEVIATIONS),
    }
)
SPECTRUM: Mapping[str, Check] = {
    "feature_size": whole(1, 512),
    "sampling_rate": whole(1000, 768_000),
    "hop_length": whole(8, 2**16),
    "n_fft": whole(16, 2**16),
    "fft_window_size": whole(16, 2**16),
    "chunk_length": whole(1, 3600),
    "max_length_s": number(1, 3600),
    "frequency_min": number(0, 384_000),
    "frequency_max": number(1, 384_000),
    "truncation": choice("rand_trunc", "fusion"),
    "padding": choice("repeatpad", "repeat", "pad"),
}
RATE = {"sampling_rate": SPECTRUM["sampling_rate"]}
TEXT = fields(
    {
        "inputs": listed(choice("input_ids", "attention_mask", "token_type_ids"), 1, 3),
        "max_length": whole(1, LONGEST_TEXT),
        "padding": choice("longest", "max_length"),
        "pad_id": TOKEN,
        "pad_token": text(),
        "pad_side": choice("left", "right"),
        "lower": truth,
    },
    {"prefix": text()},
)
CACHE = fields({"heads": whole(1, 2**16), "head_width": whole(1, 2**16)})
CONTEXT = whole(1, LONGEST_TEXT)
SYSTEM = nullable(listed(text(), 2, 2))
CHAT = either(
    fields({"begin": text(), "answer": text(), "again": text(), "end": text(), "system": SYSTEM, "special": truth}),
    fields({"pieces": table(text()), "strip": listed(choice(*ROLES)), "special": truth}),
)
"""Pieces of a chat template as older artifacts have them, or as they are written now: errors speak of these."""
PROMPT = fields(
    {
        "segments": listed(listed(text(), 2, 2), 1, 1000),
        "special": truth,
        "image": fields(
            {"token": text(1000), "count": whole(1, 2**16), "around": text(), "whole": text(), "tile": text()}
        ),
        "caption": text(),
    },
    {"turns": nullable(fields({"answer": text(), "again": text()}))},
)
DESCRIBER = fields(
    {
        "image": PICTURE,
        "text": TEXT,
        "generation": fields({"start": TOKEN, "eos": TOKENS}),
        "decoder": CACHE,
        "context_tokens": CONTEXT,
    }
)
SETTINGS: Mapping[str, Check] = {
    "speech-seq2seq": fields(
        {
            "audio": fields({**RATE, "hop_length": SPECTRUM["hop_length"]}, SPECTRUM),
            "generation": fields(
                {
                    "start": TOKEN,
                    "eos": TOKEN,
                    "no_timestamps": nullable(TOKEN),
                    "languages": table(TOKEN),
                    "tasks": table(TOKEN),
                    "suppress": TOKENS,
                    "begin_suppress": TOKENS,
                    "max_tokens": whole(8, LONGEST_TEXT),
                }
            ),
            "decoder": CACHE,
            "max_frames": whole(2, 60_000),
        }
    ),
    "dual-encoder": fields(
        {"text": TEXT},
        {
            "image": nullable(PICTURE),
            "audio": nullable(fields(RATE, SPECTRUM)),
            "logit_scale": number(),
            "logit_bias": number(),
        },
    ),
    "multimodal": fields(
        {
            "image": PICTURE,
            "audio": fields(
                {
                    **RATE,
                    "mean": number(),
                    "std": number(1e-9),
                    "frame_multiple": whole(1, 10_000),
                    "longest_s": number(0.1, 3600),
                },
                SPECTRUM,
            ),
            "text": TEXT,
            "generation": fields(
                {
                    "tasks": fields({"caption": TOKEN, "answer": TOKEN, "transcribe": TOKEN}),
                    "eos": TOKEN,
                    "max_tokens": whole(2, LONGEST_TEXT),
                }
            ),
            "decoder": CACHE,
        }
    ),
    "causal-lm": fields(
        {"decoder": CACHE, "generation": fields({"eos": TOKENS}), "context_tokens": CONTEXT},
        {"chat": nullable(CHAT)},
    ),
    "image-text-to-text": fields(
        {
            "image": either(TILES, PICTURE),
            "prompt": PROMPT,
            "image_token_id": TOKEN,
            "decoder": CACHE,
            "generation": fields({"eos": TOKENS}),
            "context_tokens": CONTEXT,
        }
    ),
    "image-to-text": DESCRIBER,
    "visual-question-answering": DESCRIBER,
    "encoder": fields({"text": TEXT, "pooling": choice("mean", "cls", "max")}),
    "classifier": fields({"labels": listed(text(10_000), 1)}, {"image": PICTURE, "text": TEXT}),
}
"""Task -> what its runner reads. Keys that it does not read are free."""


def check_settings(task: str, settings: Any, place: str) -> None:
    """Refuse settings that the runner of a task could not work with.

    Args:
        task: one of SETTINGS.
        settings: the value of `settings` in the manifest.
        place: what to call the manifest.

    Raises:
        ArtifactError: the first value that is missing, of another type, or beyond the limits.
    """
    try:
        SETTINGS[task](settings, "settings")
        _check_together(task, settings)
    except WrongValue as error:
        raise ArtifactError(f"{place} is damaged: {error}", hint="copy the artifact again, or compress again") from None


def _check_together(task: str, settings: Mapping[str, Any]) -> None:
    """What one value says about another."""
    if task == "dual-encoder" and not (settings.get("image") or settings.get("audio")):
        raise WrongValue(settings.get("image"), "settings.image", "an object, or settings.audio should be one")
    if task == "classifier" and ("image" in settings) == ("text" in settings):
        raise WrongValue(sorted(settings)[:5], "settings", "with one of image and text")
    if task == "speech-seq2seq":
        generation = settings["generation"]
        if generation["languages"] and "transcribe" not in generation["tasks"]:
            raise WrongValue(generation["tasks"], "settings.generation.tasks", "an object with transcribe")
