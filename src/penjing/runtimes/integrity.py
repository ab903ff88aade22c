"""Artifacts are what their manifest says: every file that runs is hashed when an artifact is opened.

Hashing 300 MB takes up to a second, so digests are remembered in the user's cache, by device, inode, size and times of
last change of each file: a file that has not been touched is not read again. A file younger than two seconds is not
remembered: it could be changed once more without its times telling (git calls such entries racy).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from penjing.artifact.manifest import NAME, REPORTS, checked_files, compare, file_hash
from penjing.artifact.whole_file import write_whole
from penjing.bounded_json import UnreadableJson, read_object
from penjing.errors import ArtifactError
from penjing.runtimes.engine import cache_folder
from penjing.stamps import Memo, Stamp

CHECKPOINT = "checkpoint/"
MOST_REMEMBERED = 20_000

_DIGESTS: Memo[str] = Memo()
"""What this process has read already."""


def digest_of(path: Path) -> str:
    """sha256 of a file in hex; what this process, or an earlier one by `remembered`, has read is not read again."""
    return _DIGESTS.get([path], lambda: file_hash(path))


def verified_files(
    folder: Path, manifest: Mapping[str, Any], *, checkpoint: bool = False, cache: bool = True
) -> dict[str, str]:
    """Check the files of an artifact that are about to run, and return the digest of each: what was really read.

    Args:
        folder: of the artifact.
        manifest: of the artifact, as `read_manifest` returned it.
        checkpoint: check `checkpoint/`, which PyTorch runs, instead of everything else. Reports and the card never
            run, and people edit them: only `penjing verify` looks at them.
        cache: remember digests in the user's cache folder.

    Raises:
        ArtifactError: a file is missing or was changed, or the manifest lists none.
    """
    listed = checked_files(folder, manifest)
    if not listed:
        raise ArtifactError(f"{folder / NAME} lists no files", hint="copy the artifact again, or compress again")
    run = {
        name: digest
        for name, digest in listed.items()
        if name.startswith(CHECKPOINT) == checkpoint and name not in REPORTS
    }
    place = _memory(folder)
    if cache:
        _DIGESTS.made.update({(stamp,): digest for stamp, digest in _remembered(place).items()})
    known = len(_DIGESTS.made)
    for name, digest in run.items():
        compare(folder, name, digest, digest_of)
    if cache and len(_DIGESTS.made) > known:
        stamps = (Stamp.of(folder / name) for name in listed if (folder / name).is_file())
        _remember(place, {stamp: _DIGESTS.made[stamp,] for stamp in stamps if (stamp,) in _DIGESTS.made})
    return run


def _memory(folder: Path) -> Path:
    """The file in the user's cache that holds the digests of a folder."""
    return cache_folder() / "verified" / f"{hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:32]}.json"


def _remembered(path: Path) -> dict[Stamp, str]:
    """Digests that an earlier process wrote; none where there is no such file, or it is damaged."""
    try:
        entries = read_object(path).get("files")
    except (OSError, UnreadableJson):
        return {}
    if not isinstance(entries, list) or len(entries) > MOST_REMEMBERED:
        return {}
    whole = (entry for entry in entries if isinstance(entry, list) and len(entry) == len(Stamp._fields) + 1)
    return {
        Stamp(*stamp): digest
        for *stamp, digest in whole
        if isinstance(digest, str) and all(isinstance(part, int) for part in stamp)
    }


def _remember(path: Path, digests: Mapping[Stamp, str]) -> None:
    """Write digests for later processes; a cache that cannot be written costs time, nothing else."""
    document = json.dumps({"files": [[*stamp, digest] for stamp, digest in digests.items()]})
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, document.encode())
