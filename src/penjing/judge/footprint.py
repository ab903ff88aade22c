"""Peak memory of running an artifact, measured in a process of its own: open it, run one item, ask the system.

python -m penjing.judge.footprint ARTIFACT ENGINE THREADS
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import subprocess
import sys
from pathlib import Path

import numpy as np

from penjing.artifact.manifest import read_manifest
from penjing.runtimes import open_runner
from penjing.runtimes.engine import Engine, choose_engine
from penjing.runtimes.transcription import NO_FILTER

RSS_UNIT_BYTES = 1 if sys.platform == "darwin" else 1024
STATUS = Path("/proc/self/status")
RESET = Path("/proc/self/clear_refs")
SYNTHETIC_CLIP_S = 8.0
TIMEOUT_S = 600


def peak_rss_bytes(folder: Path, engine: Engine) -> int | None:
    """Peak resident memory of a child that loads the artifact and runs it once; None if the child failed."""
    command = [sys.executable, "-m", "penjing.judge.footprint", str(folder), engine.name, str(engine.threads)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=True)
    except subprocess.SubprocessError:
        return None
    return int(done.stdout)


def own_peak_bytes() -> int:
    """Peak resident memory of this process since it began to run its program.

    Linux says so in /proc. `ru_maxrss` is for systems without: it is handed on from the parent that started us, so a
    small program begun by a large one seems large.
    """
    if STATUS.is_file():
        for line in STATUS.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    import resource  # no such module on Windows

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * RSS_UNIT_BYTES


def forget_peak() -> None:
    """Let the peak begin anew at what is resident now; where the system cannot, it stays that of the whole process."""
    with contextlib.suppress(OSError):
        RESET.write_text("5", encoding="ascii")


def trim_heap() -> None:
    """Give freed memory back to the system, where the C library can (glibc): it keeps what many small tensors leave."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def run_once(folder: Path, engine: str, threads: int) -> None:
    """Open the artifact and run one synthetic item."""
    runner = open_runner(folder, read_manifest(folder), choose_engine(engine, threads, cache=False))
    if runner.task == "speech-seq2seq":
        noise = np.random.default_rng(0).normal(0, 0.01, int(SYNTHETIC_CLIP_S * runner.sampling_rate_hz))
        language = (runner.languages or [None])[0]
        runner.transcribe(noise.astype(np.float32), language, speech_filter=NO_FILTER)  # or noise is not decoded
    else:
        runner.run_synthetic()


if __name__ == "__main__":
    run_once(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
    print(own_peak_bytes())
