"""Wall time and peak memory of `penjing compress` with the default recipe. usage: compress.py MODEL [ROUNDS]"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from timing import THREADS, spread, write

KIB = 1024


def main() -> None:
    """Compress again and again, each time in a fresh process; the peak is that of the largest process of all."""
    model, rounds = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 3
    seconds = []
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-m", "penjing", "compress", model, "-o", f"{scratch}/out", "--data", "speech"]
        for _ in range(rounds):
            start = time.perf_counter()
            subprocess.run([*command, "--overwrite", "--threads", str(THREADS)], check=True, capture_output=True)
            seconds.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * KIB
    name = f"compress-{Path(model).name}"
    write(name, {"rounds": rounds, "seconds": spread(seconds), "peak_rss_bytes": peak})


if __name__ == "__main__":
    main()
