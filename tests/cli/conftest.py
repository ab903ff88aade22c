"""The command line in this process: exit code, stdout, stderr; and folders that nothing may change."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from penjing.cli.run import run


@dataclass(frozen=True)
class Ran:
    """One command after it ran."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one document on stdout."""
        return json.loads(self.out)

    @property
    def told(self) -> list[str]:
        """The lines on stderr that are no progress."""
        return [line for line in self.err.splitlines() if not line.startswith("[")]

    def check_refused(self, code: int = 2) -> tuple[str, str]:
        """One line and a hint, and the same in JSON; returns both."""
        assert self.code == code, self.err
        error = self.json["error"]
        assert set(error) == {"kind", "message", "hint"}
        assert self.told == [f"error: {error['message']}", f"  hint: {error['hint']}"]
        assert error["hint"]
        assert "Traceback" not in self.err
        return error["message"], error["hint"]


@pytest.fixture
def penjing(capfd: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """Run a command with --json, unless told otherwise."""

    def call(*arguments: object, as_json: bool = True) -> Ran:
        capfd.readouterr()
        code = run([str(part) for part in arguments] + ["--json"] * as_json)
        found = capfd.readouterr()
        return Ran(code, found.out, found.err)

    return call


def snapshot(folder: Path) -> dict[str, str]:
    """Every path below a folder with the hash of what it holds."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        for path in sorted(folder.rglob("*"))
    }


@pytest.fixture
def untouched(tmp_path: Path) -> Callable[[], None]:
    """Call it at the end: nothing below tmp_path has changed since the call before."""
    seen: list[dict[str, str]] = []

    def check() -> None:
        seen.append(snapshot(tmp_path))
        assert len(seen) == 1 or seen[-1] == seen[-2]

    return check
