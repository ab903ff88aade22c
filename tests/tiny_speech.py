"""A whole tiny Whisper of random weights, as transformers saves it, and sounds for it to hear."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers

from penjing.data.audio import read_audio
from penjing.data.scenes import FOLDER

SPOKEN = FOLDER / "speech" / "scene-004-question.ogg"

SPECIAL = (
    "<|endoftext|>",
    "<|startoftranscript|>",
    "<|en|>",
    "<|de|>",
    "<|transcribe|>",
    "<|translate|>",
    "<|notimestamps|>",
    "[UNK]",
)
WORDS = ("the", "of", "and", "one", "two", "red", "blue", "bus", "cat", "rain", "train", "late", "when", "who", "is")
LANGUAGES = {"<|en|>": 2, "<|de|>": 3}
MELS = 16
RATE_HZ = 16000


def tokenizer() -> Any:
    """One token a word."""
    import transformers

    made = Tokenizer(models.WordLevel({word: number for number, word in enumerate(SPECIAL + WORDS)}, "[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL])
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, eos_token="<|endoftext|>", pad_token="<|endoftext|>", unk_token="[UNK]"
    )


def save_whisper(folder: Path, layers: int = 1, multilingual: bool = True) -> Path:
    """Write the checkpoint: one layer a side unless more are asked for."""
    import transformers

    torch.manual_seed(0)
    config = transformers.WhisperConfig(
        vocab_size=len(SPECIAL) + len(WORDS),
        num_mel_bins=MELS,
        d_model=32,
        encoder_layers=layers,
        decoder_layers=layers,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        max_target_positions=64,
        decoder_start_token_id=1,
        pad_token_id=0,
        bos_token_id=0,
        eos_token_id=0,
    )
    net = transformers.WhisperForConditionalGeneration(config).eval()
    for weight in net.parameters():
        if weight.ndim >= 2:
            torch.nn.init.normal_(weight, std=0.2)
    known: dict[str, Any] = {
        "lang_to_id": LANGUAGES,
        "task_to_id": {"transcribe": 4, "translate": 5},
        "is_multilingual": True,
    }
    net.generation_config = transformers.GenerationConfig(
        decoder_start_token_id=1,
        eos_token_id=0,
        no_timestamps_token_id=6,
        suppress_tokens=list(range(1, len(SPECIAL))),
        begin_suppress_tokens=[0],
        **(known if multilingual else {}),
    )
    net.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    front_end = {"feature_size": MELS, "sampling_rate": RATE_HZ, "hop_length": 160, "n_fft": 400}
    (folder / "preprocessor_config.json").write_text(json.dumps(front_end))
    return folder


def sound(seconds: float, seed: int = 0, rate_hz: int = RATE_HZ) -> np.ndarray:
    """A wavering hum with noise, louder in its middle."""
    time_s = np.arange(int(seconds * rate_hz)) / rate_hz
    noise = np.random.default_rng(seed).normal(0, 0.02, len(time_s))
    hum = np.sin(2 * np.pi * (180 + 40 * seed) * time_s + 3 * np.sin(5 * time_s))
    return (0.3 * hum * np.sin(np.pi * time_s / seconds) + noise).astype(np.float32)


def voice(seconds: float, rate_hz: int = RATE_HZ) -> np.ndarray:
    """A sentence that penjing brings along, again and again: what a voice activity detector takes for speech."""
    said = read_audio(SPOKEN, rate_hz)
    return np.resize(said, int(seconds * rate_hz))


def save_sounds(folder: Path, count: int = 12) -> Path:
    """Write short clips with made-up transcripts, dealt to the three parts."""
    folder.mkdir(parents=True)
    lines = []
    for number in range(count):
        soundfile.write(folder / f"{number}.wav", sound(0.6 + 0.1 * number, number), RATE_HZ)
        words = [WORDS[(number * 3 + place) % len(WORDS)] for place in range(3 + number % 3)]
        part = ("calibrate", "select", "judge", "judge")[number % 4]
        row = {"file_name": f"{number}.wav", "text": " ".join(words), "part": part, "language": "en"}
        lines.append(json.dumps(row))
    (folder / "metadata.jsonl").write_text("\n".join(lines) + "\n")
    return folder
