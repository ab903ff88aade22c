"""Write an artifact beside its place and move it there in one step: nobody ever sees half of one."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from penjing.artifact.manifest import is_artifact
from penjing.errors import ArtifactError


def check_out(out: Path, *, overwrite: bool) -> None:
    """Refuse a place that is taken or cannot be written, before any work is done."""
    if out.exists() and not overwrite:
        raise ArtifactError(f"{out} already exists", hint="give --overwrite or another -o")
    if out.exists() and not (out.is_dir() and (is_artifact(out) or not any(out.iterdir()))):
        raise ArtifactError(f"{out} is not an artifact, so it is not overwritten", hint="give another -o")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}."):
            pass
    except OSError as error:
        raise ArtifactError(f"cannot write beside {out}: {error.strerror}", hint="give an -o you may write") from error


@contextlib.contextmanager
def staging(out: Path) -> Iterator[Path]:
    """A hidden sibling of `out` to write into; it is removed if it was not published."""
    folder = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}.partial-"))
    folder.chmod(0o755)
    try:
        yield folder
    except OSError as error:
        raise ArtifactError(
            f"cannot write {out}: {error.strerror or error}", hint="is the disk full? nothing was changed"
        ) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def publish(folder: Path, out: Path) -> None:
    """Put a finished folder in its place; an artifact that stood there goes only when the new one has arrived."""
    if not out.exists():
        os.replace(folder, out)
        return
    old = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}.old-"))
    os.replace(out, old / "old")
    try:
        os.replace(folder, out)
    except OSError:
        os.replace(old / "old", out)
        raise
    finally:
        shutil.rmtree(old, ignore_errors=True)
