"""What a step depends on beyond its settings is part of what --resume goes by: content, not names."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from safetensors.torch import load_file, save_file

from penjing.methods import make
from penjing.runtimes.engine import Engine


def test_data_that_is_learned_from(tmp_path: Path) -> None:
    data = tmp_path / "rows.jsonl"
    keys = []
    for text in ("one", "two", "one"):
        data.write_text(json.dumps({"text": text}) + "\n")
        keys.append(make("distill", {"data": str(data)}).inputs_key(None))
    assert keys[0] == keys[2] != keys[1]


def test_media_that_are_learned_from(picture_folder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(picture_folder, tmp_path / "pictures"))
    method = make("distill", {"data": str(folder)})
    before = method.inputs_key(None)
    pictures = sorted(path for path in folder.rglob("*.png"))
    for picture in pictures:
        picture.write_bytes(picture.read_bytes() + b"\0")
    assert method.inputs_key(None) != before


def test_a_teacher(encoder_folder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(encoder_folder, tmp_path / "teacher"))
    method = make("distill", {"teacher": str(folder)})
    before = method.inputs_key(None)
    tensors = load_file(folder / "model.safetensors")
    name = next(iter(tensors))
    save_file({**tensors, name: tensors[name] + 1}, folder / "model.safetensors", metadata={"format": "pt"})
    assert method.inputs_key(None) != before
    assert make("distill", {}).inputs_key(None) == ""


def test_a_file_of_texts(tmp_path: Path) -> None:
    method = make("vocab", {"file": str(tmp_path / "texts.txt")})
    keys = []
    for text in ("one", "two"):
        (tmp_path / "texts.txt").write_text(text)
        keys.append(method.inputs_key(None))
    assert keys[0] != keys[1]
    assert make("vocab", {}).inputs_key(None) == ""


def test_the_engine_that_products_are_timed_in() -> None:
    engines = [Engine("onnxruntime", 1), Engine("onnxruntime", 2), Engine("openvino", 2)]
    assert len({make("lowrank", {"rank": 8}).inputs_key(engine) for engine in engines}) == 3
    assert make("lowrank", {"rank": 8, "measured": False}).inputs_key(engines[0]) == ""
