"""Peak memory of running an artifact, measured in a process of its own: open it, run one item, ask the system.

python -m penjing.judge.footprint ARTIFACT ENGINE THREADS
"""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import numpy as np

from penjing.runtimes.engine import Engine

RSS_UNIT_BYTES = 1 if sys.platform == "darwin" else 1024
SYNTHETIC_CLIP_S = 8.0


def peak_rss_bytes(folder: Path, engine: Engine) -> int | None:
    """Peak resident memory of a child that loads the artifact and runs it once; None if the child failed."""
    command = [sys.executable, "-m", "penjing.judge.footprint", str(folder), engine.name, str(engine.threads)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    return int(done.stdout) if done.returncode == 0 else None


def run_once(folder: Path, engine: str, threads: int) -> None:
    """Open the artifact and run one synthetic item."""
    from penjing.runtimes import load

    runner = load(folder, engine=engine, threads=threads)
    if runner.task == "speech-seq2seq":
        noise = np.random.default_rng(0).normal(0, 0.01, int(SYNTHETIC_CLIP_S * runner.sampling_rate_hz))
        runner.transcribe(noise.astype(np.float32), (runner.languages or [None])[0])
    else:
        runner.run_synthetic()


if __name__ == "__main__":
    run_once(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * RSS_UNIT_BYTES)
