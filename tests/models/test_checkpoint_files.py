"""Weight files are checked by their headers, before any tensor is read."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from penjing.errors import ModelError
from penjing.models.checkpoint import check_folder, check_safetensors, read_json


def write(path: Path, header: dict | bytes, data: bytes = b"") -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def entry(first: int, last: int, shape: list[int], dtype: str = "F32") -> dict:
    return {"dtype": dtype, "shape": shape, "data_offsets": [first, last]}


@pytest.fixture
def whole(tmp_path):
    """A folder with a config and a good file of two tensors."""
    (tmp_path / "config.json").write_text("{}")
    save_file({"a": torch.ones(2, 3), "b": torch.ones(4)}, tmp_path / "model.safetensors")
    return tmp_path


def test_a_whole_file_gives_its_names(whole):
    weights = check_folder(whole, "it")
    assert weights.tensor_names == {"a", "b"}
    assert weights.files == (whole / "model.safetensors",)
    assert weights.size_bytes == (whole / "model.safetensors").stat().st_size


def test_the_hash_is_that_of_the_bytes(whole):
    data = (whole / "model.safetensors").read_bytes()
    assert check_folder(whole, "it").sha256() == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("cut", [1, 10, 40])
def test_a_truncated_file_is_found(whole, cut):
    path = whole / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(ModelError, match="truncated") as caught:
        check_safetensors(path)
    assert "again" in caught.value.hint


@pytest.mark.parametrize("length", [0, 4, 8, 20])
def test_a_file_cut_inside_its_header_is_found(whole, length):
    path = whole / "model.safetensors"
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(ModelError, match=r"truncated or no safetensors|header is damaged"):
        check_safetensors(path)


def test_bytes_behind_the_last_tensor_are_found(whole):
    path = whole / "model.safetensors"
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(ModelError, match="too long"):
        check_safetensors(path)


@pytest.mark.parametrize(
    "header",
    [
        b"not json",
        b"[]",
        b'{"a": 3}',
        b'{"a": {}}',
        b'{"a\\n": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}',
        b'{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}',
        b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}}',
        b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": ["x", 4]}}',
    ],
)
def test_a_damaged_header_is_found(tmp_path, header):
    path = write(tmp_path / "model.safetensors", header, b"\0" * 4)
    with pytest.raises(ModelError, match="header is damaged"):
        check_safetensors(path)


def test_metadata_is_no_tensor(tmp_path):
    header = {"__metadata__": {"format": "pt"}, "a": entry(0, 4, [1])}
    assert check_safetensors(write(tmp_path / "x.safetensors", header, b"\0" * 4)) == {"a"}


def test_dtypes_of_other_sizes_fit(tmp_path):
    header = {"a": entry(0, 4, [2], "BF16"), "b": entry(4, 7, [3], "U8"), "c": entry(7, 8, [2], "F4")}
    assert check_safetensors(write(tmp_path / "x.safetensors", header, b"\0" * 8)) == {"a", "b", "c"}


def test_a_file_of_no_tensors_is_whole(tmp_path):
    assert check_safetensors(write(tmp_path / "x.safetensors", {})) == set()


def sharded(folder: Path, weight_map: dict) -> Path:
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    return folder


def test_shards_are_read_in_order(tmp_path):
    save_file({"a": torch.ones(1)}, tmp_path / "one.safetensors")
    save_file({"b": torch.ones(1)}, tmp_path / "two.safetensors")
    sharded(tmp_path, {"b": "two.safetensors", "a": "one.safetensors"})
    weights = check_folder(tmp_path, "it")
    assert [path.name for path in weights.files] == ["one.safetensors", "two.safetensors"]
    assert weights.tensor_names == {"a", "b"}


def test_a_missing_shard_is_named(tmp_path):
    save_file({"a": torch.ones(1)}, tmp_path / "one.safetensors")
    sharded(tmp_path, {"a": "one.safetensors", "b": "two.safetensors"})
    with pytest.raises(ModelError, match=r"two\.safetensors is missing \(1 of 2\)"):
        check_folder(tmp_path, "it")


def test_a_shard_without_its_tensor_is_named(tmp_path):
    save_file({"a": torch.ones(1)}, tmp_path / "one.safetensors")
    sharded(tmp_path, {"a": "one.safetensors", "b": "one.safetensors"})
    with pytest.raises(ModelError, match=r"one\.safetensors does not hold b"):
        check_folder(tmp_path, "it")


@pytest.mark.parametrize("outside", ["../secret.safetensors", "/etc/passwd"])
def test_shards_stay_in_the_folder(tmp_path, outside):
    sharded(tmp_path, {"a": outside})
    with pytest.raises(ModelError, match="outside the folder"):
        check_folder(tmp_path, "it")


@pytest.mark.parametrize("weight_map", [{}, [], None])
def test_an_index_without_a_map_is_refused(tmp_path, weight_map):
    sharded(tmp_path, weight_map)
    with pytest.raises(ModelError, match="no weight_map"):
        check_folder(tmp_path, "it")


@pytest.mark.parametrize("text", ["", "{", "[1]", "\xff"])
def test_json_that_is_none_is_refused(tmp_path, text):
    (tmp_path / "config.json").write_text(text, encoding="latin1")
    with pytest.raises(ModelError, match="JSON"):
        read_json(tmp_path / "config.json")
