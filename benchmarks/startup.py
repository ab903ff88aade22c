"""Process start to first text, engine cache warm. usage: startup.py ARTIFACT [ROUNDS]"""

from __future__ import annotations

import subprocess
import sys
import time

from timing import THREADS, clips, spread, write


def main() -> None:
    """Start the command again and again; the first start fills the cache and does not count."""
    artifact, rounds = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 7
    clip = clips()[16]["file"]
    found = {}
    for engine in ("openvino", "onnxruntime"):
        command = [sys.executable, "-m", "penjing", "transcribe", artifact, clip, "--engine", engine]
        command += ["--threads", str(THREADS)]
        seconds = []
        for _ in range(rounds + 1):
            start = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            seconds.append(time.perf_counter() - start)
        found[engine] = spread(seconds[1:])
    write("startup", {"rounds": rounds, "seconds": found})


if __name__ == "__main__":
    main()
