"""int8 keys and values of a language model: cache.py MODEL

Perplexity on the built-in data `text` (all 60 judge passages, windows of 512 tokens), bytes that the cache holds after
512 tokens, and milliseconds of one more token, with and without the step `int8_cache`; weights stay float32. Both
graphs run in one process in turns, in both engines.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from timing import BUILD, THREADS, ratios, spread, write

FILLED, ROUNDS = 512, 30


def graphs(model_name: str) -> dict[str, Path]:
    """Folders of the source's graph and of the same with codes for its cache."""
    from penjing.data.source import load_dataset
    from penjing.data.split import split
    from penjing.methods import Aids, make
    from penjing.models.open import open_model
    from penjing.pipeline.graphs import export_graphs, runnable
    from penjing.values import silent

    model = open_model(model_name)
    folders = {name: BUILD / f"cache-{name}" for name in ("float32", "int8")}
    for name, folder in folders.items():
        folder.mkdir(parents=True, exist_ok=True)
        if name == "int8":
            rows = split(load_dataset("text")).calibrate
            batches = [*model.family.batches(model.settings, model.folder, rows)]
            (decoder,) = [tower for tower in model.towers if tower.role == "decoder"]
            with tempfile.TemporaryDirectory() as scratch:
                notes = make("int8_cache", {}).run(decoder, batches, Aids(model, [], 0, Path(scratch)))
            assert not any(note.skipped for note in notes)
        export_graphs(model, folder, name, silent)
        runnable(model, folder)
    return folders


def cache_bytes(decoder: Any) -> int:
    """Bytes of the keys and values that a decoder holds now, in the engine or outside of it."""
    if hasattr(decoder, "_past"):
        return sum(array.nbytes for array in decoder._past.values())
    return sum(state.state.data.nbytes for state in decoder._request.query_state())


def measure(folders: dict[str, Path], engine_name: str) -> dict[str, Any]:
    """Perplexity, bytes and milliseconds of both."""
    from penjing.artifact.manifest import read_manifest
    from penjing.data.source import load_dataset
    from penjing.data.split import split
    from penjing.evaluate.interval import differences, measure_all
    from penjing.evaluate.speed import interleave
    from penjing.judge.quality import judge
    from penjing.runtimes import open_runner
    from penjing.runtimes.engine import choose_engine

    rows = split(load_dataset("text")).judge
    engine = choose_engine(engine_name, THREADS)
    runners = {name: open_runner(folder, read_manifest(folder), engine) for name, folder in folders.items()}
    scores = {name: judge(runner, rows).scores for name, runner in runners.items()}
    for runner in runners.values():
        runner.begin([*range(1, FILLED + 1)])
    held = {name: cache_bytes(runner._timed) for name, runner in runners.items()}
    ms = interleave({name: (lambda r=r: r.write_one(7)) for name, r in runners.items()}, rounds=ROUNDS)
    changes = differences(scores["float32"], scores["int8"])["perplexity"]
    return {
        "perplexity": {name: measure_all(score)["perplexity"].as_json() for name, score in scores.items()},
        "perplexity change": changes.as_json(),
        "cache bytes": {**held, "ratio": held["int8"] / held["float32"]},
        "ms_per_token": {name: spread(taken) for name, taken in ms.items()},
        "time ratio": ratios(ms, "int8", "float32"),
    }


def main() -> None:
    """Export both, measure in both engines."""
    folders = graphs(sys.argv[1])
    write("cache", {name: measure(folders, name) for name in ("openvino", "onnxruntime")})


if __name__ == "__main__":
    main()
