"""Files that are there as a whole or not at all, written beside their place and moved there."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from pathlib import Path


def write_whole(path: Path, content: bytes) -> None:
    """Write a file in one step; where no space is left, or the process is interrupted, nothing stays behind.

    A link that stands at `path` is replaced, not followed.

    Args:
        path: of the file, in a folder that is there.
        content: bytes of the file.

    Raises:
        OSError: it cannot be written.
    """
    partial = path.with_name(f".{path.name[:50]}.{secrets.token_hex(4)}.partial")
    try:
        with partial.open("xb") as stream:
            stream.write(content)
        if path.is_file() and not path.is_symlink():
            shutil.copymode(path, partial)
        os.replace(partial, path)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise
