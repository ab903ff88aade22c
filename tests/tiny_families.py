"""Tiny checkpoints of every family that has graphs, with their front ends: `FAMILIES["clap"](folder)` writes one."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import dual_folders

from tiny_encoders import save_encoder, save_image_classifier, save_text_classifier
from tiny_language import save_language
from tiny_seedling import save_seedling
from tiny_speech import save_whisper
from tiny_vision_language import KINDS, save_blip, save_vision_language


def save_short_whisper(folder: Path) -> Path:
    """A Whisper of 2 s of sound and 8 tokens: fewer positions than synthetic inputs usually have."""
    import torch
    import transformers

    save_whisper(folder)
    config = transformers.WhisperConfig.from_pretrained(folder)
    config.max_source_positions, config.max_target_positions = 100, 8
    generation = transformers.GenerationConfig.from_pretrained(folder)
    torch.manual_seed(0)
    net = transformers.WhisperForConditionalGeneration(config).eval()
    for weight in net.parameters():
        if weight.ndim >= 2:
            torch.nn.init.normal_(weight, std=0.2)
    net.generation_config = generation
    net.save_pretrained(folder)
    assert json.loads((folder / "config.json").read_text())["max_target_positions"] == 8
    return folder


def _inside(save: Callable[[Path], Path], folder: Path) -> Path:
    folder.mkdir(parents=True)
    return save(folder)


FAMILIES: Mapping[str, Callable[[Path], Path]] = {
    "whisper": save_whisper,
    "short_whisper": save_short_whisper,
    **{name: partial(dual_folders.save, name) for name in dual_folders.NAMES},
    "encoder": save_encoder,
    "text_classifier": partial(_inside, save_text_classifier),
    "image_classifier": partial(_inside, save_image_classifier),
    "language": save_language,
    **{kind: partial(lambda kind, folder: save_vision_language(folder, kind), kind) for kind in KINDS},
    "blip": save_blip,
    "blip_vqa": partial(save_blip, asks=True),
    "seedling": save_seedling,
}
