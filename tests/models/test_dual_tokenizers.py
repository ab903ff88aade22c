"""Tokenizers of published dual encoders: old files, slow classes, classes that lower-case by themselves."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import dual_folders as tiny
import pytest
import transformers
from tokenizers import normalizers

from penjing.data.pictures import draw
from penjing.data.row import Row
from penjing.data.text import TextFrontEnd
from penjing.errors import ModelError
from penjing.models.families.dual_encoder import DualEncoder
from penjing.models.front_ends import open_fast

FAMILY = DualEncoder()
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789,.!?"
MERGES = [("r", "e"), ("re", "d</w>"), ("b", "u"), ("bu", "s</w>")]


def row(text: str) -> Row:
    stream = io.BytesIO()
    draw(0)[0].save(stream, "PNG")
    return Row("row", {"text": text}, "image", stream.getvalue())


@pytest.fixture
def old_clip(tmp_path: Path) -> Path:
    """A CLIP folder from before tokenizer.json: vocab.json and merges.txt."""
    pieces = [*LETTERS, *(letter + "</w>" for letter in LETTERS), *("".join(pair) for pair in MERGES)]
    vocabulary = {piece: index for index, piece in enumerate([*pieces, "<|startoftext|>", "<|endoftext|>"])}
    (tmp_path / "vocab.json").write_text(json.dumps(vocabulary))
    (tmp_path / "merges.txt").write_text("\n".join(["#version: 0.2", *(" ".join(pair) for pair in MERGES)]))
    end = "<|endoftext|>"
    special = {"pad_token": end, "bos_token": "<|startoftext|>", "eos_token": end, "unk_token": end}
    config = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77, **special}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    tiny.front_end("clip").save_pretrained(tmp_path)
    tiny.config("clip").save_pretrained(tmp_path)
    return tmp_path


def test_a_folder_without_tokenizer_json_is_read_all_the_same(old_clip: Path) -> None:
    net = tiny.network("clip")
    settings = FAMILY.settings(net, old_clip)
    text = "a Red bus, on 42"
    batch = next(FAMILY.batches(settings, old_clip, [row(text)]))
    expected = transformers.AutoTokenizer.from_pretrained(old_clip)([text])
    assert batch["input_ids"].tolist() == expected["input_ids"]
    assert batch["attention_mask"].tolist() == expected["attention_mask"]
    assert settings["text"]["pad_token"] == "<|endoftext|>"
    assert not (old_clip / "tokenizer.json").exists()


def test_new_checkpoints_keep_the_front_end_in_processor_config(tmp_path: Path) -> None:
    transformers.CLIPProcessor(tiny.front_end("clip"), tiny.tokenizer()).save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").unlink(missing_ok=True)
    settings = FAMILY.settings(tiny.network("clip"), tmp_path)
    assert settings["image"]["crop"] == {"height": 32, "width": 32}
    assert settings["image"]["resize"] == {"shortest_edge": 32}


def cased(folder: Path, kind: str) -> Path:
    """A folder whose tokenizer.json does not lower-case, of a class named `kind`."""
    tokenizer: Any = tiny.tokenizer()
    tokenizer.backend_tokenizer.normalizer = normalizers.NFC()
    tokenizer.save_pretrained(folder)
    tiny.config("siglip").save_pretrained(folder)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**config, "tokenizer_class": kind}))
    return folder


@pytest.mark.parametrize(("kind", "lower"), [("Siglip2Tokenizer", True), ("SiglipTokenizer", False)])
def test_lower_casing_outside_the_file_is_noticed(kind: str, lower: bool, tmp_path: Path) -> None:
    folder = cased(tmp_path, kind)
    settings = FAMILY.settings(tiny.network("siglip"), folder)["text"]
    assert settings["lower"] is lower
    front_end = TextFrontEnd(folder / "tokenizer.json", settings)
    ids = [front_end([text])["input_ids"].tolist() for text in ("a RED bus", "a red bus")]
    assert (ids[0] == ids[1]) == lower


def test_a_slow_tokenizer_alone_cannot_be_used(tmp_path: Path) -> None:
    tiny.config("siglip").save_pretrained(tmp_path)
    (tmp_path / "spiece.model").write_bytes(b"")
    with pytest.raises(ModelError, match="no fast tokenizer"):
        open_fast(tmp_path)


def test_a_clap_front_end_of_another_model_is_refused(tmp_path: Path) -> None:
    tiny.front_end("clap_fused").save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="enable_fusion False"):
        FAMILY.settings(tiny.network("clap"), tmp_path)
    settings = FAMILY.settings(tiny.network("clap_fused"), tmp_path)
    assert settings["audio"]["truncation"] == "fusion"
    assert settings["audio"]["sampling_rate"] == 48000
