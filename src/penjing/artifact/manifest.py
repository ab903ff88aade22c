"""The manifest of an artifact, `penjing.json`: read, checked, hashed. Torch-free, because the shop starts here."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from penjing.bounded_json import UnreadableJson, read_json
from penjing.data.paths import is_inside
from penjing.errors import ArtifactError

NAME = "penjing.json"
FORMAT = 1
REPORTS = ("report.html", "report.json", "README.md")
DIGEST = re.compile(r"[0-9a-f]{64}")
MOST_FILES = 10_000
RESERVED = re.compile(r'[\x00-\x1f\\:*?"<>|]')
"""What no name of a file in an artifact holds: control characters, and what means something to a Windows path."""


def is_artifact(path: Path) -> bool:
    """Return whether this folder was written by `penjing compress`."""
    return (path / NAME).is_file()


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read and check the manifest of an artifact: its form, and every name and digest in `files`.

    Raises:
        ArtifactError: no manifest, a damaged one, or names that `checked_files` refuses.
    """
    path = folder / NAME
    if not folder.is_dir():
        raise ArtifactError(f"{folder} is not a folder", hint="give the folder that `penjing compress` wrote")
    if not path.is_file():
        raise ArtifactError(f"{folder} has no {NAME}", hint="give the folder that `penjing compress` wrote")
    try:
        manifest = read_json(path)
    except UnreadableJson as error:
        raise ArtifactError(f"{path} is damaged: it {error}", hint="compress again") from error
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read: {error.strerror}", hint="check the permissions") from error
    parts = ("files", "settings")
    if not isinstance(manifest, dict) or "format" not in manifest:
        raise ArtifactError(f"{path} is not a penjing manifest", hint="compress again")
    if manifest["format"] != FORMAT or isinstance(manifest["format"], bool):
        raise ArtifactError(
            f"{path} has format {str(manifest['format'])[:40]}, this penjing reads {FORMAT}",
            hint="pip install --upgrade penjing",
        )
    if not all(isinstance(manifest.get(part, {}), dict) for part in parts):
        raise ArtifactError(f"{path} is damaged: {' and '.join(parts)} should be objects", hint="compress again")
    if not isinstance(manifest.get("task"), str | None):
        raise ArtifactError(f"{path} is damaged: task should be text", hint="compress again")
    checked_files(folder, manifest)
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


def checked_files(folder: Path, manifest: Mapping[str, Any]) -> dict[str, str]:
    """The names and digests that a manifest lists in `files`; the one place where they are taken from it.

    A name is a path below the folder, with slashes, that leads out of it neither by itself nor through a link. A
    digest is 64 hexadecimal digits. Both become file names elsewhere (in caches, in other artifacts).

    Raises:
        ArtifactError: any other name or digest, or more than 10,000 files.
    """
    listed: Mapping[Any, Any] = manifest.get("files") or {}
    if len(listed) > MOST_FILES:
        raise ArtifactError(f"{folder / NAME} lists {len(listed)} files", hint=f"an artifact has {MOST_FILES} at most")
    for name, digest in listed.items():
        if not isinstance(digest, str) or not DIGEST.fullmatch(digest):
            raise _forged(folder, f"the digest of {name[:60]!r} is not 64 hexadecimal digits")
        parts = PurePosixPath(name).parts
        plain = parts and name == "/".join(parts) and ".." not in parts and not RESERVED.search(name)
        if not plain or name.startswith("/") or len(name) > 1000:
            raise _forged(folder, f"{name[:60]!r} is not the name of a file inside of it")
        if not is_inside(folder / name, folder):
            raise _forged(folder, f"{name[:60]!r} is a link to what is outside of it")
    return dict(listed)


def _forged(folder: Path, reason: str) -> ArtifactError:
    return ArtifactError(f"{folder / NAME} is not to be trusted: {reason}", hint="get the artifact anew from its maker")


def json_text(document: Mapping[str, Any]) -> str:
    """A JSON object the way all of ours are written: two spaces, keys in the order given, a last newline."""
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """Write a JSON object as `json_text` has it."""
    path.write_text(json_text(document), encoding="utf8")


def file_hash(path: Path) -> str:
    """sha256 of a file's bytes, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def file_hashes(folder: Path) -> dict[str, str]:
    """sha256 of every file of an artifact but the manifest itself, by path relative to the folder, sorted."""
    return {path.relative_to(folder).as_posix(): file_hash(path) for path in _files(folder) if path.name != NAME}


def verify(folder: Path, manifest: Mapping[str, Any]) -> dict[str, str]:
    """Compare every file with the hash the manifest holds, and return those hashes by name.

    Raises:
        ArtifactError: a file is missing or was changed, or the manifest lists none.
    """
    files = checked_files(folder, manifest)
    if not files:
        raise ArtifactError(f"{folder / NAME} lists no files", hint="copy the artifact again, or compress again")
    for name, expected in files.items():
        compare(folder, name, expected, file_hash)
    return files


def unlisted_files(folder: Path, files: Mapping[str, str]) -> list[str]:
    """Names of the files below a folder that its manifest does not list, the manifest itself left out."""
    inside = (path.relative_to(folder).as_posix() for path in _files(folder))
    return [name for name in inside if name not in files and name != NAME]


def compare(folder: Path, name: str, expected: str, digest_of: Callable[[Path], str]) -> None:
    """Compare one file of an artifact with its digest.

    Args:
        folder: of the artifact.
        name: of the file in it, checked.
        expected: what the manifest says.
        digest_of: reads a file and returns its sha256 in hex.

    Raises:
        ArtifactError: the file is missing, cannot be read, or has another digest.
    """
    path = folder / name
    if not path.is_file():
        raise ArtifactError(f"{folder}: {name} is missing", hint="copy the whole folder")
    try:
        digest = digest_of(path)
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read: {error.strerror}", hint="check the permissions") from error
    if digest != expected:
        raise ArtifactError(f"{folder}: {name} was changed after it was measured", hint="compress again")


def model_bytes(folder: Path) -> int:
    """Bytes of the model files: `onnx/`, or `checkpoint/*.safetensors` where there is no `onnx/`."""
    graphs = folder / "onnx"
    files = _files(graphs) if graphs.is_dir() else (folder / "checkpoint").glob("*.safetensors")
    return sum(path.stat().st_size for path in files)


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())
