"""The manifest of an artifact, `penjing.json`: read, checked, hashed. Torch-free, because the shop starts here."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from penjing.errors import ArtifactError

NAME = "penjing.json"
FORMAT = 1
REPORTS = ("report.html", "report.json", "README.md")


def is_artifact(path: Path) -> bool:
    """Return whether this folder was written by `penjing compress`."""
    return (path / NAME).is_file()


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read and check the manifest of an artifact."""
    path = folder / NAME
    if not folder.is_dir():
        raise ArtifactError(f"{folder} is not a folder", hint="give the folder that `penjing compress` wrote")
    if not path.is_file():
        raise ArtifactError(f"{folder} has no {NAME}", hint="give the folder that `penjing compress` wrote")
    try:
        manifest = json.loads(path.read_text(encoding="utf8"))
    except ValueError as error:
        raise ArtifactError(f"{path} is damaged: not JSON", hint="compress again") from error
    parts = ("files", "settings")
    if not isinstance(manifest, dict) or "format" not in manifest:
        raise ArtifactError(f"{path} is not a penjing manifest", hint="compress again")
    if manifest["format"] != FORMAT:
        raise ArtifactError(
            f"{path} has format {manifest['format']}, this penjing reads {FORMAT}", hint="pip install --upgrade penjing"
        )
    if not all(isinstance(manifest.get(part, {}), dict) for part in parts):
        raise ArtifactError(f"{path} is damaged: {' and '.join(parts)} should be objects", hint="compress again")
    return manifest


def how_to_open(folder: Path, manifest: Mapping[str, Any]) -> str:
    """How the checkpoint of an artifact without graphs is used: by a command where it has a task, else in Python."""
    if manifest.get("task"):
        return f"`penjing evaluate {folder} --data DATA --engine torch` measures it in PyTorch"
    layout = (manifest.get("checkpoint") or {}).get("layout")
    if layout == "compressed-tensors":
        kind = manifest.get("model", {}).get("architecture") or "AutoModel"
        return f'in Python: transformers.{kind}.from_pretrained("{folder}/checkpoint")'
    return f'in Python: penjing.artifact.checkpoint.load_network(Path("{folder}/checkpoint"))'


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """Write a JSON object the way all of ours are written: two spaces, keys in the order given, a last newline."""
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf8")


def file_hash(path: Path) -> str:
    """sha256 of a file's bytes, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def file_hashes(folder: Path) -> dict[str, str]:
    """sha256 of every file of an artifact but the manifest itself, by path relative to the folder, sorted."""
    return {path.relative_to(folder).as_posix(): file_hash(path) for path in _files(folder) if path.name != NAME}


def verify(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Compare every file with the hash the manifest holds; a changed or missing one is an ArtifactError."""
    for name, expected in manifest.get("files", {}).items():
        path = folder / name
        if not path.is_file():
            raise ArtifactError(f"{folder}: {name} is missing", hint="copy the whole folder")
        if file_hash(path) != expected:
            raise ArtifactError(f"{folder}: {name} was changed after it was measured", hint="compress again")


def model_bytes(folder: Path) -> int:
    """Bytes of the model files: `onnx/`, or `checkpoint/*.safetensors` where there is no `onnx/`."""
    graphs = folder / "onnx"
    files = _files(graphs) if graphs.is_dir() else (folder / "checkpoint").glob("*.safetensors")
    return sum(path.stat().st_size for path in files)


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())
