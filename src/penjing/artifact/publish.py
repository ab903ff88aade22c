"""Write an artifact beside its place and move it there in one step: nobody ever sees half of one."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from penjing.artifact.manifest import NAME
from penjing.bounded_json import UnreadableJson, read_object
from penjing.errors import ArtifactError, Interrupted, PenjingError

if sys.platform != "win32":
    import fcntl

DISK_TROUBLE = (
    errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ENAMETOOLONG,
)  # fmt: skip
WORTH_KEEPING = (
    "steps/*/notes.json", "steps/scratch/course-*/state.safetensors", "steps/scratch/teacher-*/*",
    "steps/scratch/transcripts-*", "report.json",
)  # fmt: skip
"""What a run that ended early leaves for --resume, or for whoever wants to know why it was refused."""


def check_out(out: Path, *, overwrite: bool) -> None:
    """Refuse a place that is taken or cannot be written, before any work is done; nothing is created."""
    try:
        taken = out.exists() or out.is_symlink()
        if taken and not overwrite:
            raise ArtifactError(f"{out} already exists", hint="give --overwrite or another -o")
        foreign = _foreign(out) if taken else ""
        if foreign:
            raise ArtifactError(f"{out} {foreign}, so it is not overwritten", hint="give another -o")
        place = next(parent for parent in out.parents if parent.exists())
        with tempfile.TemporaryDirectory(dir=place, prefix=f".{out.name}."):
            pass
    except OSError as error:
        raise ArtifactError(f"cannot write {out}: {error.strerror}", hint="give an -o you may write") from error


def _foreign(out: Path) -> str:
    """What is wrong with replacing `out`: it is no artifact, or holds more than one; empty if nothing is."""
    if out.is_dir() and not any(out.iterdir()):
        return ""
    try:
        listed = read_object(out / NAME).get("files")
    except (OSError, UnreadableJson):
        return "is not an artifact"
    if not isinstance(listed, dict):
        return "is not an artifact"
    ours = {NAME, *listed}
    inside = (str(path.relative_to(out)) for path in sorted(out.rglob("*")) if not path.is_dir())
    found = next((name for name in inside if name not in ours), "")
    return f"holds {found}, which penjing did not write" if found else ""


@contextlib.contextmanager
def staging(out: Path, work: Path, *, fresh: bool) -> Iterator[Path]:
    """A folder in `work`, the hidden sibling of `out`, to write into; it is removed if it was not published.

    `work` itself goes too where it holds nothing worth keeping. `fresh` forgets what an earlier run left there.
    """
    folder = work / "artifact"
    with _told_how_to_go_on(work), _blamed_on_disk(out), _alone(work, out):
        try:
            for old in list(work.iterdir()) if fresh else [folder]:
                shutil.rmtree(old, ignore_errors=True) if old.is_dir() else old.unlink(missing_ok=True)
            folder.mkdir()
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            if not any(any(work.glob(pattern)) for pattern in WORTH_KEEPING):
                shutil.rmtree(work, ignore_errors=True)


@contextlib.contextmanager
def _told_how_to_go_on(work: Path) -> Iterator[None]:
    """Let SIGTERM, by which schedulers and `docker stop` end a process, end the run as Ctrl-C does: cleaned up, and
    with a word on what is kept.

    Raises:
        Interrupted: the run was ended by either.
    """

    def stop(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    alone = threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    if alone:
        signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except KeyboardInterrupt as error:
        kept = f"what was finished is kept in {work}: run the same command with --resume to go on"
        hint = kept if work.exists() else "no step was finished, and nothing is left behind: run the command again"
        raise Interrupted("interrupted", hint=hint) from error
    finally:
        if alone:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


@contextlib.contextmanager
def _alone(work: Path, out: Path) -> Iterator[None]:
    """Make the folder and hold a lock on it, which the system lets go when the process ends, however it ends."""
    if sys.platform == "win32":  # two runs on one OUT are not kept apart there
        work.mkdir(parents=True, exist_ok=True)
        yield
        return
    handle = _locked(work, out)
    while handle is None:
        handle = _locked(work, out)
    try:
        yield
    finally:
        os.close(handle)


def _locked(work: Path, out: Path) -> int | None:
    """Open and lock the folder; None where a run that ended in between took it away. Locked by another: an error."""
    work.mkdir(parents=True, exist_ok=True)
    try:
        handle = os.open(work, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(handle)
        raise ArtifactError(f"another run is writing {out}", hint="wait for it, or give another -o") from error
    except OSError:  # a file system without locks
        return handle
    if work.exists() and os.path.samestat(os.fstat(handle), work.stat()):
        return handle
    os.close(handle)
    return None


@contextlib.contextmanager
def _blamed_on_disk(out: Path) -> Iterator[None]:
    """Turn a failure to write, which Rust and C++ libraries tell in words only, into one line."""
    try:
        yield
    except PenjingError:
        raise
    except Exception as error:
        told = re.search(r"\(os error (\d+)\)", str(error))
        number = error.errno if isinstance(error, OSError) else int(told[1]) if told else None
        if number not in DISK_TROUBLE:
            raise
        raise ArtifactError(
            f"cannot write {out}: {os.strerror(number)}", hint="make room and go on with --resume; nothing was changed"
        ) from error


def standing(out: Path) -> str:
    """What stands at a path: a text that changes when it is replaced or written anew; empty where nothing stands."""
    try:
        found = [out.lstat()]
    except OSError:
        return ""
    with contextlib.suppress(OSError):
        found.append((out / NAME).lstat())
    return " ".join(f"{one.st_dev}:{one.st_ino}:{one.st_size}:{one.st_mtime_ns}" for one in found)


def publish(folder: Path, out: Path, before: str | None = None) -> None:
    """Put a finished folder in its place; an artifact that stood there goes only when the new one has arrived.

    Args:
        folder: the finished artifact.
        out: its place.
        before: `standing(out)` when the run began, hours ago perhaps; None where nobody looked before now.

    Raises:
        ArtifactError: something else stands there by now. Both are kept: the message says where the result is.
    """
    now = standing(out)
    if now != (now if before is None else before) or (now and _foreign(out)):
        raise _kept_beside(folder, out)
    if not now:
        try:
            os.rename(folder, out)
        except OSError as error:
            if not (out.exists() or out.is_symlink()):
                raise
            raise _kept_beside(folder, out) from error
        return
    old = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}.old-"))
    try:
        os.replace(out, old / "old")
        os.replace(folder, out)
    finally:  # an interruption must not cost the artifact that stood here either
        if not out.exists() and (old / "old").exists():
            os.replace(old / "old", out)
        shutil.rmtree(old, ignore_errors=True)


def _kept_beside(folder: Path, out: Path) -> ArtifactError:
    """Put the result beside what nobody knew of, under a name that is free, and say so."""
    number = 1
    while True:
        place = out.with_name(f"{out.name}.new" if number == 1 else f"{out.name}.new-{number}")
        if not (place.exists() or place.is_symlink()):
            break
        number += 1
    os.rename(folder, place)
    return ArtifactError(
        f"{out} was put there, or changed, while this run worked, and is left alone; the result is {place}",
        hint=f"keep either: {place} is a whole artifact",
    )
