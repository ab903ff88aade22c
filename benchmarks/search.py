"""Indexing drawings: search.py FOLDER

FOLDER holds pictures (Debian's openclipart-png: /usr/share/openclipart/png). The model is a CLIP ViT-B/32 with random
weights after the recipe `dual-encoder`. Measured beside one another, with two threads: pictures a second of
`penjing search index` on 8,000 files, what the engine and the decoding of a picture take alone, and the peak memory of
indexing 8,000 and 800 files, each in a process of its own. The largest picture that is not refused is in both
folders, so that memory differs by the number of files alone.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from clip import random_clip
from timing import BUILD, THREADS, write

MANY, FEW, ALONE, TOGETHER = 8000, 800, 200, 16


def artifact() -> Path:
    """The compressed CLIP, made once."""
    import penjing

    out, source = BUILD / "search-clip", BUILD / "clip-b32"
    if not (out / "penjing.json").is_file():
        shutil.rmtree(source, ignore_errors=True)
        random_clip(source)
        penjing.compress(source, out, data="pictures", goals=["size_bytes<=50%"], threads=THREADS)
    return out


def largest(files: list[Path]) -> Path:
    """The largest picture that is not refused."""
    from PIL import Image

    from penjing.data.image import MAX_PIXELS

    Image.MAX_IMAGE_PIXELS = None
    sizes = {}
    for path in files:
        with contextlib.suppress(OSError), Image.open(path) as opened:
            sizes[path] = opened.width * opened.height
    return max((path for path, size in sizes.items() if size <= MAX_PIXELS), key=sizes.__getitem__)


def linked(folder: Path, count: int) -> Path:
    """A folder of so many of the pictures, and the largest."""
    place = BUILD / f"drawings-{count}"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    files = sorted(path for path in folder.rglob("*.png"))
    for number, path in enumerate([*files[:: max(1, len(files) // count)][: count - 1], largest(files)]):
        shutil.copy(path, place / f"{number:05}-{path.name}")
    return place


def indexed(model: Path, place: Path) -> dict[str, Any]:
    """Index a folder in a fresh process; what it says, and its peak memory."""
    index = BUILD / "drawings.idx"
    shutil.rmtree(index, ignore_errors=True)
    command = [sys.executable, __file__, "--run", str(model), str(place), str(index)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def run(model: str, place: str, index: str) -> None:
    """In the process of its own."""
    import penjing
    from penjing.apps import search
    from penjing.index.choice import Wanted
    from penjing.judge.footprint import own_peak_bytes

    runner = penjing.load(model, threads=THREADS, warm_up=False)
    found = search.index(search.Embedding(runner, model), [place], index, Wanted(threads=THREADS))
    print(json.dumps({"seconds": found.seconds, "items": sum(found.items.values()), "faults": len(found.faults),
                      "peak_bytes": own_peak_bytes()}))  # fmt: skip


def alone(model: Path, place: Path) -> dict[str, float]:
    """Milliseconds a picture of the engine with two threads, and of reading one with one thread."""
    import penjing

    runner = penjing.load(model, threads=THREADS, warm_up=False)
    files = sorted(place.iterdir())[:ALONE]
    reads, read = [], []
    for path in files:
        start = time.thread_time()
        try:
            read.append(runner.read(path, "image"))
        except Exception:
            continue
        reads.append(time.thread_time() - start)
    runner.embed_read(read[:TOGETHER], "image")
    engine = []
    for first in range(0, len(read) - TOGETHER + 1, TOGETHER):
        start = time.perf_counter()
        runner.embed_read(read[first : first + TOGETHER], "image")
        engine.append((time.perf_counter() - start) / TOGETHER)
    return {"engine_ms": 1000 * statistics.median(engine), "decode_ms": 1000 * statistics.mean(reads)}


def main(folder: Path) -> None:
    model = artifact()
    many, few = linked(folder, MANY), linked(folder, FEW)
    before = alone(model, many)
    small, large = indexed(model, few), indexed(model, many)
    after = alone(model, many)
    costs = {name: (before[name] + after[name]) / 2 for name in before}
    rate, bound = large["items"] / large["seconds"], 1000 / (costs["engine_ms"] + costs["decode_ms"])
    document = {"few": small, "many": large, "alone": costs, "images_per_s": rate, "share_of_bound": rate / bound,
                "memory_ratio": large["peak_bytes"] / small["peak_bytes"]}  # fmt: skip
    write("search", document)
    print(json.dumps(document, indent=1))


if __name__ == "__main__":
    if sys.argv[1] == "--run":
        run(*sys.argv[2:])
    else:
        main(Path(sys.argv[1]))
