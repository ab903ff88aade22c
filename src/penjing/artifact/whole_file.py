"""Files that are there as a whole or not at all, written beside their place and moved there."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path


def write_whole(path: Path, content: bytes) -> None:
    """Write a file in one step; where no space is left, or the process is interrupted, nothing stays behind.

    A link that stands at `path` is replaced, not followed.

    Args:
        path: of the file; its folder is made.
        content: bytes of the file.

    Raises:
        OSError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:50]}.", suffix=".partial")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
        if path.is_file() and not path.is_symlink():
            shutil.copymode(path, partial)
        os.replace(partial, path)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise
