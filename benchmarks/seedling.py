"""Every use of the seedling, one item, and every graph: seedling.py [ARTIFACT]

Its default compression, or an artifact made of it before (by the recipe `seedling-5x`, for one), against its own
float32 graphs, in both engines. A use is all that a person waits for: files are read, sounds become spectra, words are
written one by one. Graphs are what compression can change of that.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from timing import THREADS, in_turns, spread, write

HERE = Path(__file__)
ENGINES = ("openvino", "onnxruntime")
ROUNDS, REPEATS = 3, 40
WRITTEN = 10


def build(folder: Path, artifact: Path | None) -> dict[str, Any]:
    """Compress the seedling, or take an artifact, with float32 graphs beside; bytes and metrics before and after."""
    import penjing
    from penjing.models.open import open_model
    from penjing.pipeline.graphs import export_graphs, runnable

    if artifact is None:
        penjing.compress("seedling", folder / "result", data="scenes", threads=THREADS)
    else:
        (folder / "result").symlink_to(artifact.resolve())
    found = json.loads((folder / "result" / "report.json").read_text(encoding="utf8"))
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


def graphs(runner: Any) -> dict[str, Callable[[], object]]:
    """Every graph once: a picture, nine words, 2.4 s of sound, what they make fused, and a word written of that."""
    import numpy as np

    noise = np.random.default_rng(0).standard_normal
    config = runner.settings
    inputs = {
        "image": {"pixel_values": noise((1, 3, 64, 64), dtype=np.float32)},
        "text": {"input_ids": np.arange(5, 14)[None]},
        "audio": {"input_features": noise((1, config["audio"]["feature_size"], 240), dtype=np.float32)},
    }
    parts = runner.graphs
    tokens = {"tokens": np.concatenate([parts[name](inputs[name])[f"{name}_tokens"] for name in ("image", "text")], 1)}
    context = parts["fusion"](tokens)

    def write_words() -> None:
        with runner._decoders.started(context) as decoder:
            for word in range(WRITTEN):
                decoder.step([word + 5])

    runs: dict[str, Callable[[], object]] = {f"graph {name}": partial(parts[name], inputs[name]) for name in inputs}
    return {**runs, "graph fusion": partial(parts["fusion"], tokens), f"{WRITTEN} decoder steps": write_words}


def time_both(engine: str, folder: Path) -> None:
    """Median milliseconds of source and result, item by item in turns, in this process."""
    from penjing.artifact.manifest import read_manifest
    from penjing.evaluate.speed import interleave
    from penjing.runtimes import open_runner
    from penjing.runtimes.engine import choose_engine

    chosen = choose_engine(engine, THREADS, cache=False)
    runners = {name: open_runner(folder / name, read_manifest(folder / name), chosen) for name in ("source", "result")}
    found = {}
    everything = {name: {**uses(runner), **graphs(runner)} for name, runner in runners.items()}
    for use in everything["source"]:
        functions = {name: runs[use] for name, runs in everything.items()}
        times = interleave(functions, rounds=REPEATS, warm_up=5)
        found[use] = {name: statistics.median(samples) for name, samples in times.items()}
    print(json.dumps(found))


def main() -> None:
    """Build once, then time both engines in fresh processes."""
    if sys.argv[1:2] and sys.argv[1] in ENGINES:
        time_both(sys.argv[1], Path(sys.argv[2]))
        return
    artifact = Path(sys.argv[1]) if sys.argv[1:] else None
    with tempfile.TemporaryDirectory() as scratch:
        built = build(Path(scratch), artifact)
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
    write(f"seedling-{artifact.name}" if artifact else "seedling", {**built, "times": times})


if __name__ == "__main__":
    main()
