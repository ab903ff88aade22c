"""A tiny seedling, and speech for it that needs no synthesiser: every letter is a tone."""

from __future__ import annotations

from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from penjing.seedling.batches import Batches
from penjing.seedling.configuration import SeedlingConfig
from penjing.seedling.model import SeedlingModel
from penjing.seedling.processor import SeedlingProcessor, new_processor
from penjing.seedling.schedule import Schedule
from penjing.seedling.speech import RATE_HZ, SpeechCache, Utterance, script

SMALL: dict[str, Any] = {
    "hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64, "embedding_size": 16,
    "image_layers": 1, "audio_layers": 1, "fusion_layers": 1, "decoder_layers": 2,
    "stem_channels": (8, 16, 32), "ear_channels": (8, 8, 8),
}  # fmt: skip


def tones(utterance: Utterance) -> np.ndarray:
    """20 ms of a tone per letter."""
    times = np.arange(RATE_HZ // 50) / RATE_HZ
    letters = [np.sin(2 * np.pi * (200 + 70 * (ord(letter) - 97)) * times) for letter in utterance.text]
    return (0.3 * np.concatenate(letters)).astype(np.float32)


@cache
def processor() -> SeedlingProcessor:
    """The processor that any seedling gets; its word pieces take a few seconds to learn."""
    return new_processor(SeedlingConfig())


def small_config() -> SeedlingConfig:
    return SeedlingConfig(**SMALL, vocab_size=len(processor().tokenizer))


def small_model() -> SeedlingModel:
    torch.manual_seed(0)
    return SeedlingModel(small_config()).eval()


def save_seedling(folder: Path) -> Path:
    """A checkpoint with its processor."""
    small_model().save_pretrained(folder)
    processor().save_pretrained(folder)
    return folder


def small_cache(folder: Path, count: int = 60) -> SpeechCache:
    speech = SpeechCache(folder)
    for _ in speech.fill(islice(script(), count), tones):
        pass
    return speech


def small_schedule(steps: int, look: int = 0, read: int = 0, listen: int = 0) -> Schedule:
    return Schedule(steps, look, read, listen, batch_size=8, peak_rate=3e-3, last_peak_rate=3e-3, warm_up=2)


def small_batches(speech: SpeechCache, schedule: Schedule, rank: int = 0, world: int = 1) -> Batches:
    return Batches(speech, processor().tokenizer.backend_tokenizer, schedule, rank, world)
