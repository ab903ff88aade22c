"""Every use of the seedling, one item: its default compression against its own float32 graphs, in both engines."""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from timing import THREADS, in_turns, spread, write

HERE = Path(__file__)
ENGINES = ("openvino", "onnxruntime")
ROUNDS, REPEATS = 3, 40


def build(folder: Path) -> dict[str, Any]:
    """Compress the seedling and keep its float32 graphs beside; returns bytes and metrics before and after."""
    import penjing
    from penjing.models.open import open_model
    from penjing.pipeline.graphs import export_graphs, runnable

    found = penjing.compress("seedling", folder / "result", data="scenes", threads=THREADS)
    model = open_model("seedling")
    (folder / "source").mkdir()
    export_graphs(model, folder / "source", "source", lambda *told: None)
    runnable(model, folder / "source")
    metrics = {name: [found[side]["metrics"][name]["value"] for side in ("source", "result")] for name in HELD}
    return {"bytes_ratio": found["result"]["size_bytes"] / found["source"]["size_bytes"], "metrics": metrics}


HELD = (
    "retrieval/recall_at_1",
    "caption/truth",
    "vqa/accuracy",
    "spoken_vqa/accuracy",
    "speech/wer",
    "new_speaker/wer",
)


def uses(runner: Any) -> dict[str, Callable[[], object]]:
    """One item through every use."""
    from penjing.data.scenes import FOLDER

    picture = FOLDER / "images" / "scene-004.png"
    told, asked = (FOLDER / "speech" / f"scene-004-{what}.ogg" for what in ("caption", "question"))
    return {
        "embed a picture": lambda: runner.embed([picture], "image"),
        "embed a text": lambda: runner.embed(["two red circles and a large blue star"], "text"),
        "embed a sound": lambda: runner.embed([told], "audio"),
        "ask, typed": lambda: runner.ask(picture, "how many red circles are there"),
        "ask, spoken": lambda: runner.ask(picture, asked),
        "caption": lambda: runner.caption(picture),
        "transcribe": lambda: runner.transcribe(told),
    }


def time_both(engine: str, folder: Path) -> None:
    """Median milliseconds of source and result, item by item in turns, in this process."""
    from penjing.artifact.manifest import read_manifest
    from penjing.evaluate.speed import interleave
    from penjing.runtimes import open_runner
    from penjing.runtimes.engine import choose_engine

    chosen = choose_engine(engine, THREADS, cache=False)
    runners = {name: open_runner(folder / name, read_manifest(folder / name), chosen) for name in ("source", "result")}
    found = {}
    for use in uses(runners["source"]):
        functions = {name: uses(runner)[use] for name, runner in runners.items()}
        times = interleave(functions, rounds=REPEATS, warm_up=5)
        found[use] = {name: statistics.median(samples) for name, samples in times.items()}
    print(json.dumps(found))


def main() -> None:
    """Build once, then time both engines in fresh processes."""
    if len(sys.argv) > 1:
        time_both(sys.argv[1], Path(sys.argv[2]))
        return
    with tempfile.TemporaryDirectory() as scratch:
        built = build(Path(scratch))
        commands = {engine: [sys.executable, str(HERE), engine, scratch] for engine in ENGINES}
        results = in_turns(commands, ROUNDS)
    times = {
        engine: {
            use: {
                "ratio": spread([one[use]["result"] / one[use]["source"] for one in rounds]),
                "result": spread([one[use]["result"] for one in rounds]),
            }
            for use in rounds[0]
        }
        for engine, rounds in results.items()
    }
    write("seedling", {**built, "times": times})


if __name__ == "__main__":
    main()
