"""The folder of a run: a state to go on from, and a log of what the loss did. Safetensors and JSON lines, no pickle."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

STATE, LOG = "state.safetensors", "log.jsonl"


def write_whole(path: Path, text: str) -> None:
    """Write a file beside its place, then put it there: nobody ever reads half of it."""
    beside = path.with_name(f"{path.name}.new")
    try:
        beside.write_text(text, encoding="utf8")
        os.replace(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def whole_lines(path: Path) -> list[str]:
    """Lines of a file that only grows, without one that was broken off."""
    return [line for line in path.read_text(encoding="utf8").splitlines(keepends=True) if line.endswith("\n")]


class RunFolder:
    """`state.safetensors`, replaced as a whole, and `log.jsonl`, one line a step."""

    def __init__(self, folder: Path) -> None:
        self.place, self._state, self._log = folder, folder / STATE, folder / LOG
        folder.mkdir(parents=True, exist_ok=True)

    def log(self, step: int, terms: Mapping[str, float]) -> None:
        """Add a line."""
        line = {"step": step, **{name: round(value, 5) for name, value in terms.items()}}
        with self._log.open("a") as log:
            log.write(json.dumps(line) + "\n")

    def save(self, tensors: Mapping[str, Tensor], told: Mapping[str, str]) -> None:
        """Write a state beside the old one, then put it in its place; `told` are the numbers that are no tensors."""
        beside = self._state.with_name(f"{STATE}.new")
        save_file({name: value.detach().contiguous() for name, value in tensors.items()}, beside, dict(told))
        os.replace(beside, self._state)

    def restore(self) -> tuple[dict[str, Tensor], dict[str, str]] | None:
        """The state of a run that was broken off, if there is one; what the log says of later steps is dropped."""
        if not self._state.exists():
            self._log.unlink(missing_ok=True)
            return None
        with safe_open(self._state, "pt") as file:
            told: dict[str, str] = file.metadata()
        lines = self._log.read_text().splitlines()[: int(told["step"])] if self._log.exists() else []
        self._log.write_text("".join(f"{line}\n" for line in lines))
        return load_file(self._state), told
