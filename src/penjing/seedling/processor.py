"""From pictures, texts and sounds to the seedling's inputs, in the manner of transformers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from transformers import BatchFeature, PreTrainedTokenizerFast, ProcessorMixin
from transformers.feature_extraction_sequence_utils import SequenceFeatureExtractor
from transformers.models.vit import ViTImageProcessorPil

from penjing.data.normal_mel import NormalMel
from penjing.errors import DataError
from penjing.seedling.configuration import TASKS, SeedlingConfig
from penjing.seedling.front_end import AUDIO_SETTINGS, IMAGE_SETTINGS
from penjing.seedling.words import END, PAD, learn_tokenizer
from penjing.values import FloatArray


class SeedlingFeatureExtractor(SequenceFeatureExtractor):  # type: ignore[misc]
    """Log-mel energies as Whisper makes them, normalised as (x − mean) / std, padded with a mask.

    Sounds are mono samples (n,) at `sampling_rate`.
    """

    model_input_names = ["input_features", "feature_mask"]  # noqa: RUF012 - transformers' own shape

    def __init__(self, feature_size: int = 80, sampling_rate: int = 16000, **others: Any) -> None:
        settings = AUDIO_SETTINGS | {"feature_size": feature_size, "sampling_rate": sampling_rate}
        self.settings = {key: others.pop(key, value) for key, value in settings.items()}
        others.setdefault("padding_value", 0.0)
        super().__init__(feature_size=feature_size, sampling_rate=sampling_rate, **others)

    def to_dict(self) -> dict[str, Any]:
        """What is saved: the settings one by one, as other feature extractors have them."""
        found: dict[str, Any] = super().to_dict()
        settings: dict[str, Any] = found.pop("settings")
        return found | settings

    def __call__(self, audio: FloatArray | Sequence[FloatArray], sampling_rate: int | None = None) -> BatchFeature:
        """Sounds -> input_features (batch, mels, frames) and feature_mask (batch, frames)."""
        if sampling_rate not in (None, self.sampling_rate):
            raise DataError(f"samples at {sampling_rate} Hz", hint=f"resample them to {self.sampling_rate} Hz first")
        sounds = [audio] if isinstance(audio, np.ndarray) and audio.ndim == 1 else list(audio)
        hear = NormalMel(self.settings)
        features = [hear(np.asarray(sound, np.float32)) for sound in sounds]
        longest = max(one.shape[1] for one in features)
        padded = [np.pad(one, ((0, 0), (0, longest - one.shape[1]))) for one in features]
        mask = [np.arange(longest) < one.shape[1] for one in features]
        return BatchFeature({"input_features": np.stack(padded), "feature_mask": np.stack(mask)})


class SeedlingProcessor(ProcessorMixin):  # type: ignore[misc]
    """Image processor, feature extractor and tokenizer in one."""

    def __init__(self, image_processor: Any = None, feature_extractor: Any = None, tokenizer: Any = None) -> None:
        super().__init__(image_processor, feature_extractor, tokenizer)

    def __call__(
        self,
        images: Any = None,
        text: str | Sequence[str] | None = None,
        audio: Any = None,
        sampling_rate: int | None = None,
        return_tensors: str = "pt",
    ) -> BatchFeature:
        """What is given becomes inputs of `SeedlingModel.forward`; nothing given is a DataError."""
        if images is None and text is None and audio is None:
            raise DataError("nothing to process", hint="give images, text or audio")
        found: dict[str, Any] = {}
        if images is not None:
            pictures = list(images) if isinstance(images, list | tuple) else [images]
            found |= self.image_processor([picture.convert("RGB") for picture in pictures], return_tensors="np")
        if text is not None:
            texts = [text] if isinstance(text, str) else list(text)
            found |= self.tokenizer(texts, padding=True, truncation=True, return_tensors="np")
        if audio is not None:
            found |= self.feature_extractor(audio, sampling_rate)
        return BatchFeature(found, tensor_type=return_tensors)

    def decode(self, tokens: Any) -> str:
        """Words of written tokens."""
        text: str = self.tokenizer.decode(tokens, skip_special_tokens=True)
        return text.strip()

    def batch_decode(self, sequences: Any) -> list[str]:
        """Words of several rows of tokens."""
        return [self.decode(tokens) for tokens in sequences]


def new_processor(config: SeedlingConfig) -> SeedlingProcessor:
    """The processor of a model that is to be trained."""
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=learn_tokenizer(),
        pad_token=PAD,
        eos_token=END,
        additional_special_tokens=[f"<|{task}|>" for task in TASKS],
        model_max_length=config.max_text_tokens,
        model_input_names=["input_ids", "attention_mask"],
    )
    side = {"height": config.image_size, "width": config.image_size}
    pictures = ViTImageProcessorPil(size=side, image_mean=IMAGE_SETTINGS["mean"], image_std=IMAGE_SETTINGS["std"])
    longest_s = config.max_audio_frames / 100
    return SeedlingProcessor(pictures, SeedlingFeatureExtractor(config.num_mel_bins, longest_s=longest_s), tokenizer)
