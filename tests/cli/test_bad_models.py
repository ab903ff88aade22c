"""Models that cannot be opened: one line, a hint, exit code 2, and nothing written beside OUT."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from penjing.models.pretrained import pretrained_folder

Breaks = Callable[[Path], object]


def weights(edit: Callable[[bytes], bytes]) -> Breaks:
    """Change the bytes of the weights."""
    return lambda folder: (folder / "model.safetensors").write_bytes(edit((folder / "model.safetensors").read_bytes()))


def pickled(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")


def emptied(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


def renamed(folder: Path) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"model_type": "wisper", "architectures": ["Wisper"]}))


def wordless(folder: Path) -> None:
    for path in folder.glob("tokenizer*"):
        path.unlink()


def poisoned(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors["model.encoder.conv1.weight"][0, 0, 0] = float("nan")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


BAD: dict[str, tuple[Breaks, str, str]] = {
    "missing": (shutil.rmtree, "no such model folder", "give a folder, or a hub id"),
    "empty": (emptied, "the folder is empty", "config.json and model.safetensors"),
    "truncated": (weights(lambda content: content[:-100]), "is truncated", "again"),
    "cut to nothing": (weights(lambda content: content[:5]), "is truncated", "again"),
    "damaged header": (weights(lambda content: content[:9] + b"!!" + content[11:]), "the header is damaged", "again"),
    "pickled": (pickled, "only pickled weights (pytorch_model.bin)", "convert it once"),
    "unknown architecture": (renamed, "transformers knows no model_type 'wisper'", "did you mean 'whisper'?"),
    "NaN": (poisoned, "model.encoder.conv1.weight holds NaN values (1 of", "damaged"),
}


@pytest.fixture
def model(whisper_folder, tmp_path) -> Path:
    return Path(shutil.copytree(whisper_folder, tmp_path / "model"))


@pytest.mark.parametrize("command", ["inspect", "compress", "evaluate"])
@pytest.mark.parametrize("name", BAD)
def test_bad_model(name, command, model, sound_folder, tmp_path, penjing, untouched):
    breaks, message, hint = BAD[name]
    breaks(model)
    untouched()
    options = {"inspect": [], "compress": ["-o", tmp_path / "new" / "out"], "evaluate": ["--data", sound_folder]}
    said = penjing(command, model, *options[command]).check_refused()
    assert message in said[0]
    assert hint in said[1]
    untouched()


@pytest.mark.parametrize("command", [["compress", "-o", "out"], ["evaluate", "--data", "speech"]])
def test_model_without_a_tokenizer(command, model, tmp_path, penjing, untouched, monkeypatch):
    monkeypatch.chdir(tmp_path)
    wordless(model)
    untouched()
    message, hint = penjing(command[0], model, *command[1:]).check_refused()
    assert message == f"{model}: no tokenizer.json, so nothing could be fed to its graphs"
    assert "copy it from the original model" in hint
    untouched()


def test_model_without_a_front_end(tmp_path, penjing, untouched):
    model = Path(shutil.copytree(pretrained_folder("dual-encoder"), tmp_path / "model"))
    (model / "preprocessor_config.json").unlink()
    untouched()
    message, hint = penjing("compress", model, "-o", tmp_path / "out").check_refused()
    assert message == f"{model}: no preprocessor_config.json, so nothing could be fed to its graphs"
    assert "copy it from the original model" in hint
    untouched()


def test_hub_id_while_offline(tmp_path, penjing, untouched):
    untouched()
    message, hint = penjing("compress", "openai/whisper-of-nobody", "-o", tmp_path / "out").check_refused()
    assert message.startswith("openai/whisper-of-nobody: no such folder, config.json is not in the Hugging Face cache")
    assert "hf download openai/whisper-of-nobody" in hint
    untouched()


def test_no_model_at_all(tmp_path, penjing, untouched):
    untouched()
    message, hint = penjing("compress", "-o", tmp_path / "out").check_refused()
    assert (message, hint) == ("no model named", "give MODEL, or `model:` in the recipe")
    untouched()
