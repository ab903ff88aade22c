"""Token merging: a ViT-B/16 of random weights at 224 px, 197 → 101 and → 41 tokens. usage: tokens.py [ROUNDS]

Median milliseconds of one picture in both engines, plain and merged, float32 and static int8, every system in a process
of its own, in turns. `tokens.py whisper ARTIFACT…` times the encoders of artifacts of one Whisper at equal lengths of
clip, the first being the straight path.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from timing import THREADS, in_turns, ratios, spread, write

HERE = Path(__file__)
ENGINES = ("openvino", "onnxruntime")
MERGED: dict[str, list[tuple[str, dict[str, Any]]]] = {
    "plain": [],
    "101 tokens": [("tokens", {"r": 8})],
    "41 tokens": [("tokens", {"r": 13})],
}
INT8 = ("static_int8", {"max_error": 9.0})
"""Every site in int8: random weights are there to be timed, not to be right."""
FRAMES = (600, 1200)
"""Mel frames of the clips that encoders are timed on: 6 and 12 seconds."""


def build(folder: Path) -> None:
    """Export every variant to a folder of its own."""
    import torch
    from transformers import ViTConfig, ViTForImageClassification

    from penjing.artifact.export import export_component
    from penjing.methods import Aids, make
    from penjing.models.open import open_model, refreshed

    torch.manual_seed(0)
    ViTForImageClassification(ViTConfig(num_labels=1000)).save_pretrained(folder / "source")
    for name, steps in MERGED.items():
        for ending, more in (("float32", []), ("int8", [INT8])):
            model = open_model(str(folder / "source"))
            batches = [model.family.probe(model.net, seed) for seed in range(3)]
            for method, settings in [*steps, *more]:
                tower = next(tower for tower in model.towers if tower.blocks)
                make(method, settings).run(tower, batches, Aids(model, batches[:1], 0, folder))
                model = refreshed(model)
            (folder / f"{name}, {ending}").mkdir()
            (component,) = model.family.components(model.net)
            export_component(component, folder / f"{name}, {ending}")


def time_one(graph: Path, engine: str, shape: list[int]) -> None:
    """Median milliseconds of a graph on noise of this shape, in this process."""
    import numpy as np

    from penjing.evaluate.speed import interleave
    from penjing.runtimes.engine import choose_engine

    opened = choose_engine(engine, THREADS, cache=False).open(graph)
    name = "pixel_values" if len(shape) == 4 else "input_features"
    values = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    samples = interleave({"one": lambda: opened({name: values})}, rounds=20, warm_up=3)["one"]
    print(json.dumps({"p50_ms": float(np.median(samples))}))


def timed(graphs: dict[str, Path], engine: str, shape: list[int], rounds: int) -> dict[str, Any]:
    """Spread of each graph's milliseconds, and its ratios to the first one's."""
    commands = {
        name: [sys.executable, str(HERE), "time", str(path), engine, json.dumps(shape)] for name, path in graphs.items()
    }
    found = in_turns(commands, rounds)
    p50_ms = {name: [run["p50_ms"] for run in runs] for name, runs in found.items()}
    first, *others = p50_ms
    return {
        "p50_ms": {name: spread(values) for name, values in p50_ms.items()},
        "ratios": {f"{name} / {first}": ratios(p50_ms, name, first) for name in others},
    }


def pictures(rounds: int) -> None:
    """All variants of the ViT in both engines."""
    with tempfile.TemporaryDirectory() as scratch:
        build(Path(scratch))
        names = [f"{name}, {ending}" for ending in ("float32", "int8") for name in MERGED]
        graphs = {name: Path(scratch) / name / "model.onnx" for name in names}
        found = {engine: timed(graphs, engine, [1, 3, 224, 224], rounds) for engine in ENGINES}
    write("tokens", found)


def speech(artifacts: list[str], rounds: int = 3) -> None:
    """Encoders of artifacts of one Whisper."""
    graphs = {Path(path).name: Path(path) / "onnx" / "encoder_model.onnx" for path in artifacts}
    mels = json.loads((Path(artifacts[0]) / "penjing.json").read_text())["settings"]["audio"]["feature_size"]
    found = {
        f"{engine}, {frames} frames": timed(graphs, engine, [1, mels, frames], rounds)
        for engine in ENGINES
        for frames in FRAMES
    }
    write("tokens-speech", found)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["time", graph, engine, shape]:
            time_one(Path(graph), engine, json.loads(shape))
        case ["whisper", *artifacts]:
            speech(artifacts)
        case [rounds]:
            pictures(int(rounds))
        case _:
            pictures(3)
