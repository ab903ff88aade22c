"""The weight files of a checkpoint folder: which they are, whether they are whole, what they hash to. Torch-free.

A safetensors file is 8 bytes of length, that many bytes of JSON, then the tensors (the format's own description), so a
truncated or damaged one is found without reading the tensors. Pickled weights are never opened.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penjing.bounded_json import UnreadableJson, parse_object, read_object
from penjing.errors import ModelError
from penjing.stamps import Memo
from penjing.typed_json import fields, listed, text, whole

SINGLE = "model.safetensors"
ADAPTER = "adapter_config.json"
"""Of peft (LoRA and its kin): what the adapter is, and of which model."""
INDEX = "model.safetensors.index.json"
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
LENGTH_BYTES = 8
POINTER = b"version https://git-lfs"
MOST_HEADER_BYTES = 100_000_000
"""The limit of the format itself."""
LARGEST_OFFSET = 2**53
ENTRY = fields(
    {
        "dtype": text(16),
        "shape": listed(whole(0, LARGEST_OFFSET), 0, 16),
        "data_offsets": listed(whole(0, LARGEST_OFFSET), 2, 2),
    }
)
"""What the header says of a tensor."""
FETCH_AGAIN = "fetch or save the file again"
BITS = {
    "F64": 64, "F32": 32, "F16": 16, "BF16": 16, "F8_E4M3": 8, "F8_E5M2": 8,
    "I64": 64, "I32": 32, "I16": 16, "I8": 8, "U64": 64, "U32": 32, "U16": 16, "U8": 8, "BOOL": 8,
}  # fmt: skip


_DIGESTS: Memo[str] = Memo()


@dataclass(frozen=True, slots=True)
class Weights:
    """The weight files of one checkpoint, checked, with the names of the tensors they hold."""

    files: tuple[Path, ...]
    tensor_names: frozenset[str]
    size_bytes: int

    def sha256(self) -> str:
        """Hash the bytes of all files in the order of their names; files that did not change are read once."""
        return _DIGESTS.get(self.files, lambda: _sha256(self.files))


def _sha256(files: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as stream:
            while chunk := stream.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()


def check_folder(folder: Path, name: str) -> Weights:
    """Find the weight files of a checkpoint folder and check that they are whole; `name` is what the user typed."""
    if not folder.exists():
        raise ModelError(
            f"{name}: no such model folder", hint="give a folder, or a hub id such as openai/whisper-tiny.en"
        )
    if not folder.is_dir():
        raise ModelError(f"{name} is a file, not a model folder", hint="give the folder that holds config.json")
    if not any(folder.iterdir()):
        raise ModelError(f"{name}: the folder is empty", hint="it should hold config.json and model.safetensors")
    if not (folder / "config.json").is_file():
        if (folder / ADAPTER).is_file():
            raise _adapter_alone(folder, name)
        inside = sorted(path.parent.name for path in folder.glob("*/config.json"))
        hint = f"did you mean {folder / inside[0]}?" if inside else "a transformers checkpoint has one; copy it there"
        raise ModelError(f"{name}: config.json is missing", hint=hint)
    files = _weight_files(folder, name)
    names: set[str] = set()
    for path in files:
        names |= check_safetensors(path)
    return Weights(files, frozenset(names), sum(path.stat().st_size for path in files))


def _adapter_alone(folder: Path, name: str) -> ModelError:
    """What to say of a folder that peft saved: weights of an adapter, which the model it was trained on lacks."""
    base = read_json(folder / ADAPTER).get("base_model_name_or_path") if (folder / ADAPTER).is_file() else None
    of = f" of {base}" if isinstance(base, str) and base else ""
    return ModelError(
        f"{name}: an adapter{of} without its model",
        hint="merge it first, in Python: peft.AutoPeftModelForCausalLM.from_pretrained(DIR).merge_and_unload()"
        ".save_pretrained(NEW_DIR), with the AutoPeftModel class of the task; then give NEW_DIR",
    )


def _weight_files(folder: Path, name: str) -> tuple[Path, ...]:
    """Find the single file or every shard of the index."""
    if (folder / SINGLE).is_file():
        return (folder / SINGLE,)
    if (folder / INDEX).is_file():
        return _shards(folder / INDEX)
    pickles = sorted(path.name for pattern in PICKLES for path in folder.glob(pattern))
    if pickles:
        raise ModelError(
            f"{name}: only pickled weights ({pickles[0]}), and a pickle can run code when it is read",
            hint="convert it once, where you trust it: CLASS.from_pretrained(DIR).save_pretrained(NEW_DIR) in Python, "
            f"with the CLASS that config.json names in `architectures`; that writes {SINGLE}",
        )
    others = sorted(path.name for path in folder.glob("*.safetensors"))
    if "adapter_model.safetensors" in others:
        raise _adapter_alone(folder, name)
    hint = f"rename {others[0]} to {SINGLE}" if len(others) == 1 else f"expected {SINGLE} or {INDEX} beside config.json"
    raise ModelError(f"{name}: {SINGLE} is missing", hint=hint)


def _shards(index: Path) -> tuple[Path, ...]:
    """List the shards of a sharded checkpoint; each must be there."""
    found = read_json(index).get("weight_map")
    if not isinstance(found, dict) or not found:
        raise ModelError(f"{index}: no weight_map", hint=FETCH_AGAIN)
    names = sorted({str(shard) for shard in found.values()})
    outside = [name for name in names if Path(name).name != name]
    if outside:
        raise ModelError(f"{index}: shard {outside[0]!r} lies outside the folder", hint=FETCH_AGAIN)
    missing = [name for name in names if not (index.parent / name).is_file()]
    if missing:
        raise ModelError(
            f"{index.parent}: shard {missing[0]} is missing ({len(missing)} of {len(names)})", hint=FETCH_AGAIN
        )
    paths = tuple(index.parent / name for name in names)
    held = {path.name: check_safetensors(path) for path in paths}
    lost = sorted(tensor for tensor, shard in found.items() if tensor not in held[str(shard)])
    if lost:
        raise ModelError(f"{index.parent}: {found[lost[0]]} does not hold {lost[0]}", hint=FETCH_AGAIN)
    return paths


def check_safetensors(path: Path) -> set[str]:
    """Return the tensor names of a safetensors file whose header, offsets and length agree."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        start = stream.read(len(POINTER))
        if start == POINTER:
            raise ModelError(
                f"{path} is a Git LFS pointer, not the weights", hint="run `git lfs pull` in its repository"
            )
        length = int.from_bytes(start[:LENGTH_BYTES], "little")
        if size < LENGTH_BYTES or length > size - LENGTH_BYTES:
            raise ModelError(f"{path} is truncated or no safetensors file ({size} bytes)", hint=FETCH_AGAIN)
        if length > MOST_HEADER_BYTES:
            raise ModelError(f"{path}: the header claims {length} bytes, the format allows 100 MB", hint=FETCH_AGAIN)
        stream.seek(LENGTH_BYTES)
        raw = stream.read(length)
    try:
        header = parse_object(raw, most_bytes=MOST_HEADER_BYTES)
        tensors = {name: entry for name, entry in header.items() if name != "__metadata__"}
        for name, entry in tensors.items():
            ENTRY(entry, name)
        end = max((_end_of(name, entry) for name, entry in tensors.items()), default=0)
    except ValueError as error:
        raise ModelError(f"{path}: the header is damaged", hint=FETCH_AGAIN) from error
    if LENGTH_BYTES + length + end != size:
        state = "truncated" if LENGTH_BYTES + length + end > size else "too long"
        raise ModelError(
            f"{path} is {state}: {size} bytes, its header says {LENGTH_BYTES + length + end}", hint=FETCH_AGAIN
        )
    return set(tensors)


def _end_of(name: str, entry: Mapping[str, Any]) -> int:
    """Return where a tensor ends; its offsets must fit its shape and dtype, its name must be printable."""
    first, last = map(int, entry["data_offsets"])
    bits = BITS.get(entry["dtype"])
    misfit = bits is not None and (last - first) * 8 != bits * math.prod(entry["shape"])
    if not name.isprintable() or first < 0 or last < first or misfit:
        raise ValueError("a name or offsets that cannot be")
    return last


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object of a checkpoint; what is none, or is beyond the limits, is a ModelError."""
    try:
        return read_object(path)
    except UnreadableJson as error:
        raise ModelError(f"{path} {error}", hint=FETCH_AGAIN) from error
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}", hint="check the permissions") from error
