"""The manifest: read with care, and every byte beside it accounted for."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from penjing.artifact.manifest import (
    NAME,
    file_hashes,
    is_artifact,
    model_bytes,
    read_manifest,
    verify,
    write_json,
)
from penjing.errors import ArtifactError

pytestmark = pytest.mark.shop


@pytest.fixture
def artifact(tmp_path) -> Path:
    """A folder with graphs, a config and a manifest that knows them."""
    (tmp_path / "onnx").mkdir()
    (tmp_path / "onnx" / "model.onnx").write_bytes(b"graph" * 100)
    (tmp_path / "config.json").write_text("{}")
    write_json(tmp_path / NAME, {"format": 1, "settings": {"task": "é"}, "files": file_hashes(tmp_path)})
    return tmp_path


def test_what_is_written_is_read(artifact):
    manifest = read_manifest(artifact)
    assert is_artifact(artifact)
    assert manifest["settings"] == {"task": "é"}
    assert list(manifest["files"]) == ["config.json", "onnx/model.onnx"]
    assert manifest["files"]["onnx/model.onnx"] == hashlib.sha256(b"graph" * 100).hexdigest()
    assert verify(artifact, manifest) == manifest["files"]


def test_json_is_written_the_same_way_everywhere(tmp_path):
    write_json(tmp_path / "one.json", {"b": 1, "a": "é"})
    assert (tmp_path / "one.json").read_bytes() == '{\n  "b": 1,\n  "a": "é"\n}\n'.encode()
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "two.json", {"wer": float("nan")})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "is damaged: it is not valid JSON"),
        (b"\xff\xfe", "is damaged: it is not valid JSON"),
        (b"[1, 2]", "is not a penjing manifest"),
        (b"{}", "is not a penjing manifest"),
        (b'{"format": 99}', "has format 99, this penjing reads 1"),
        (b'{"format": 1, "files": ["onnx"]}', "is damaged: files and settings should be objects"),
        (b'{"format": 1, "settings": null}', "is damaged: files and settings should be objects"),
    ],
)
def test_a_manifest_that_cannot_be_read(content, message, tmp_path):
    (tmp_path / NAME).write_bytes(content)
    with pytest.raises(ArtifactError, match=message) as caught:
        read_manifest(tmp_path)
    assert caught.value.hint
    assert caught.value.exit_code == 2


def test_folders_that_are_no_artifacts(tmp_path):
    with pytest.raises(ArtifactError, match=r"has no penjing\.json"):
        read_manifest(tmp_path)
    with pytest.raises(ArtifactError, match="is not a folder"):
        read_manifest(tmp_path / "nowhere")
    assert not is_artifact(tmp_path)


def test_a_changed_file_is_named(artifact):
    (artifact / "onnx" / "model.onnx").write_bytes(b"grapH" * 100)
    with pytest.raises(ArtifactError, match=r"onnx/model\.onnx was changed after it was measured"):
        verify(artifact, read_manifest(artifact))


def test_a_missing_file_is_named(artifact):
    (artifact / "config.json").unlink()
    with pytest.raises(ArtifactError, match=r"config\.json is missing") as caught:
        verify(artifact, read_manifest(artifact))
    assert caught.value.hint == "copy the whole folder"


def test_model_bytes_are_the_graphs_or_else_the_checkpoint(artifact):
    (artifact / "checkpoint").mkdir()
    (artifact / "checkpoint" / "model.safetensors").write_bytes(b"1" * 70)
    (artifact / "checkpoint" / "config.json").write_bytes(b"2" * 9)
    assert model_bytes(artifact) == 500
    (artifact / "onnx" / "model.onnx").unlink()
    (artifact / "onnx").rmdir()
    assert model_bytes(artifact) == 70


def test_reading_needs_no_torch(artifact):
    import subprocess
    import sys

    program = (
        "import sys; from pathlib import Path; from penjing.artifact.manifest import read_manifest, verify;"
        f"folder = Path({str(artifact)!r}); verify(folder, read_manifest(folder));"
        "assert not {'torch', 'transformers', 'onnx'} & set(sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
    assert json.loads((artifact / NAME).read_text())["format"] == 1
