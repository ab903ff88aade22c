"""A checkpoint from before tokenizer.json is read as one that has it: vocab.json, merges.txt, added_tokens.json."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

import penjing
from penjing.data.row import Row
from penjing.errors import ModelError
from penjing.models.open import open_model
from tiny_models import TINY
from tiny_speech import SPECIAL, save_sounds, save_whisper

TEXT = "the red bus was late and the rain was blue, when the cat who is one of two took the train"
WORDS = 290
"""256 bytes, some pieces of words, and special tokens."""


def byte_level(special: tuple[str, ...]) -> Tokenizer:
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.post_processor = processors.ByteLevel(trim_offsets=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator([TEXT] * 20, trainers.BpeTrainer(vocab_size=270, initial_alphabet=alphabet))
    made.add_special_tokens([*special])
    return made


def save_older(folder: Path, kind: str, special: tuple[str, ...], **named: str) -> Path:
    """Give a folder a tokenizer in its older files; those of the newer one go."""
    found = json.loads(byte_level(special).to_str())
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        (folder / name).unlink(missing_ok=True)
    (folder / "vocab.json").write_text(json.dumps(found["model"]["vocab"]))
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in found["model"]["merges"]]
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]), encoding="utf8")
    added = {token["content"]: token["id"] for token in found["added_tokens"]}
    (folder / "added_tokens.json").write_text(json.dumps(added))
    config = {"tokenizer_class": kind, "model_max_length": 64, **named}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


def newer(folder: Path, other: Path) -> Path:
    """The same checkpoint with the tokenizer.json that transformers makes of it."""
    shutil.copytree(folder, other)
    tokenizer: Any = transformers.AutoTokenizer.from_pretrained(folder)
    for name in ("vocab.json", "merges.txt", "added_tokens.json"):
        (other / name).unlink()
    tokenizer.save_pretrained(other)
    return other


def whisper(folder: Path) -> Path:
    save_whisper(folder)
    net = transformers.WhisperForConditionalGeneration.from_pretrained(folder)
    net.resize_token_embeddings(WORDS)
    ids = {name: 270 + place for place, name in enumerate(SPECIAL[:-1])}
    end, start = ids["<|endoftext|>"], ids["<|startoftranscript|>"]
    for name, number in {"eos_token_id": end, "pad_token_id": end, "bos_token_id": end}.items():
        setattr(net.config, name, number)
        setattr(net.generation_config, name, number)
    net.config.decoder_start_token_id = start
    net.generation_config = transformers.GenerationConfig(
        decoder_start_token_id=start, eos_token_id=end, is_multilingual=True
    )
    net.save_pretrained(folder)
    return save_older(folder, "WhisperTokenizer", SPECIAL[:-1], eos_token="<|endoftext|>", unk_token="<|endoftext|>")


def resized(architecture: str, kind: str, folder: Path) -> Path:
    TINY[architecture](folder)
    config = json.loads((folder / "config.json").read_text())
    net: Any = getattr(transformers, config["architectures"][0]).from_pretrained(folder)
    net.resize_token_embeddings(WORDS)
    net.save_pretrained(folder)
    names = {"bos": "<s>", "eos": "</s>", "pad": "<pad>", "unk": "<unk>", "mask": "<mask>"}
    roles = {f"{role}_token": token for role, token in {**names, "cls": "<s>", "sep": "</s>"}.items()}
    return save_older(folder, kind, (*names.values(),), **roles)


CASES = {
    "whisper": whisper,
    "llama": lambda folder: resized("llama", "GPT2Tokenizer", folder),
    "bert": lambda folder: resized("bert", "RobertaTokenizer", folder),
    "gpt2": lambda folder: resized("gpt2", "GPT2Tokenizer", folder),
}


@pytest.mark.parametrize("name", CASES)
def test_it_reads_the_same(name, tmp_path):
    older = CASES[name](tmp_path / "older")
    sounds = save_sounds(tmp_path / "sounds", 1) if name == "whisper" else None
    row = Row("r", {"text": "the red bus", "language": "en"}, "audio" if sounds else None,
              next(sounds.glob("*.wav")) if sounds else None)  # fmt: skip
    found = []
    for folder in (older, newer(older, tmp_path / "newer")):
        model = open_model(str(folder))
        (batch,) = model.family.batches(model.settings, model.folder, [row])
        found.append((dict(model.settings), {key: value.tolist() for key, value in batch.items()}))
    assert found[0] == found[1]
    assert not (older / "tokenizer.json").exists()


def test_an_artifact_of_it_speaks(tmp_path):
    older = whisper(tmp_path / "older")
    sounds = save_sounds(tmp_path / "sounds")
    found = penjing.compress(
        older, tmp_path / "out", data=sounds, recipe=["rtn"], goals=["size_bytes<=500%"], quick=True, threads=1
    )
    assert found["published"]
    assert (tmp_path / "out" / "tokenizer.json").is_file()
    runner = penjing.load(tmp_path / "out", threads=1, warm_up=False)
    assert [*runner.languages] == ["en", "de"]


def test_why_older_files_are_no_tokenizer_is_said(tmp_path):
    older = whisper(tmp_path / "older")
    (older / "merges.txt").write_text("#version: 0.2\nthis is no merge\n")
    with pytest.raises(ModelError, match=r"no fast tokenizer: .*erge"):
        open_model(str(older))
