"""What a runner needs beside the graphs, made from whatever the checkpoint has."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from tokenizers import Tokenizer

from penjing.calibrate.runner import reference_runner, write_tokenizer
from penjing.models.open import open_model
from penjing.pipeline.graphs import check_front_end, runnable

LETTERS = "abcdersu"


@pytest.fixture(scope="module")
def old_fashioned(tmp_path_factory):
    """The dual encoder of our own, with a tokenizer from before tokenizer.json."""
    folder = tmp_path_factory.mktemp("old")
    pieces = [*LETTERS, *(letter + "</w>" for letter in LETTERS), "re", "red</w>", "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({piece: number for number, piece in enumerate(pieces)}))
    (folder / "merges.txt").write_text("#version: 0.2\nr e\nre d</w>")
    end = "<|endoftext|>"
    special = {"pad_token": end, "bos_token": "<|startoftext|>", "eos_token": end, "unk_token": end}
    config = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 24, **special}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return dataclasses.replace(open_model("pictures-dual-encoder"), folder=folder)


def test_a_tokenizer_is_copied_as_it_is(tmp_path):
    model = open_model("pictures-dual-encoder")
    path = write_tokenizer(model, tmp_path)
    assert path.read_bytes() == (model.folder / "tokenizer.json").read_bytes()


def test_a_tokenizer_is_made_of_older_files(old_fashioned, tmp_path):
    check_front_end(old_fashioned)
    runnable(old_fashioned, tmp_path)
    assert Tokenizer.from_file(str(tmp_path / "tokenizer.json")).encode("red").tokens[1] == "red</w>"
    assert json.loads((tmp_path / "penjing.json").read_text())["task"] == "dual-encoder"


def test_the_reference_runs_with_it_and_leaves_no_file(old_fashioned):
    runner = reference_runner(old_fashioned)
    vectors = runner.embed_texts(["red", "a red bus"])
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)
    assert not (old_fashioned.folder / "tokenizer.json").exists()
