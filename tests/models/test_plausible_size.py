"""Configurations that ask for more than any checkpoint holds are refused before anything is allocated."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from penjing.errors import ModelError
from penjing.models.open import open_model

SIZES = {
    "num_hidden_layers": (10**9, "num_hidden_layers in config.json is 1,000,000,000, its files hold"),
    "hidden_size": (2**40, "no tensor has such a side"),
    "vocab_size": (10**8, "config.json describes .* values, its files have"),
    "max_position_embeddings": (10**15, "no tensor has such a side"),
}


@pytest.mark.parametrize("key", SIZES)
def test_a_size_that_cannot_be(key: str, encoder_folder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(encoder_folder, tmp_path / "model"))
    value, message = SIZES[key]
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, key: value}))
    with pytest.raises(ModelError, match=message) as caught:
        open_model(str(folder))
    assert caught.value.exit_code == 2
    assert caught.value.hint


def test_a_front_end_of_wrong_types(whisper_folder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(whisper_folder, tmp_path / "model"))
    (folder / "preprocessor_config.json").write_text('{"feature_size": {}}')
    with pytest.raises(ModelError, match="holds what it should not"):
        open_model(str(folder))
