"""The shape of a seedling, in the manner of transformers."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedConfig

TASKS = ("caption", "answer", "transcribe")
"""What the decoder can be asked to write; each has a start token of its own."""


class SeedlingConfig(PreTrainedConfig):  # type: ignore[misc]
    """Widths and depths of the five parts, special tokens, and how long inputs may be.

    `hidden_size` is the width of every tower and of the fusion; `embedding_size` that of the space in which pictures,
    texts and sounds are compared. Lengths are in pixels, mel frames (10 ms) and tokens.
    """

    model_type = "seedling"

    def __init__(  # noqa: PLR0913, PLR0917 - a config is a list of named numbers
        self,
        hidden_size: int = 160,
        num_attention_heads: int = 5,
        intermediate_size: int = 640,
        embedding_size: int = 160,
        image_layers: int = 3,
        text_layers: int = 1,
        audio_layers: int = 3,
        fusion_layers: int = 2,
        decoder_layers: int = 2,
        stem_channels: tuple[int, ...] = (40, 80, 160),
        ear_channels: tuple[int, ...] = (24, 48, 64),
        image_size: int = 64,
        num_mel_bins: int = 80,
        max_audio_frames: int = 1200,
        max_text_tokens: int = 64,
        max_answer_tokens: int = 64,
        vocab_size: int = 512,
        pad_token_id: int = 0,
        eos_token_id: int = 1,
        task_token_ids: dict[str, int] | None = None,
        initializer_range: float = 0.08,
        **others: Any,
    ) -> None:
        self.hidden_size = hidden_size
        self.num_attention_heads = num_attention_heads
        self.intermediate_size = intermediate_size
        self.embedding_size = embedding_size
        self.image_layers = image_layers
        self.text_layers = text_layers
        self.audio_layers = audio_layers
        self.fusion_layers = fusion_layers
        self.decoder_layers = decoder_layers
        self.stem_channels = list(stem_channels)
        self.ear_channels = list(ear_channels)
        self.image_size = image_size
        self.num_mel_bins = num_mel_bins
        self.max_audio_frames = max_audio_frames
        self.max_text_tokens = max_text_tokens
        self.max_answer_tokens = max_answer_tokens
        self.vocab_size = vocab_size
        self.task_token_ids = task_token_ids or {task: 2 + place for place, task in enumerate(TASKS)}
        self.initializer_range = initializer_range
        others.setdefault("tie_word_embeddings", True)
        super().__init__(pad_token_id=pad_token_id, eos_token_id=eos_token_id, **others)
