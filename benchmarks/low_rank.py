"""What low rank and a smaller vocabulary give: low_rank.py speech WHISPER [CASE…] | vocab SMOLLM2 [CASE…]

`speech`: low rank in Whisper's encoder before the default recipe, and the default recipe alone; WER on the built-in
judge clips, and the encoders of all artifacts in turns on 10 s. `vocab`: a language model's tokens cut to calibration
data or to Latin letters; bytes, perplexity by the source's tokens, and a step of the decoder in turns. Nothing is
refused here (no goals on quality): the loss is what is looked for. Cases that are built already are not built again.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from timing import BUILD, THREADS, write

SPEECH = {
    "default": "",
    "low rank 0.98": "  - {method: lowrank, energy: 0.98, towers: [encoder]}\n",
    "low rank 0.99": "  - {method: lowrank, energy: 0.99, towers: [encoder]}\n",
    "low rank 0.995": "  - {method: lowrank, energy: 0.995, towers: [encoder]}\n",
}
AFTER = """  - {method: static_int8, towers: [encoder]}
  - {method: rtn, bits: 8, towers: [encoder, decoder, embedding]}
  - {method: float16, towers: [encoder, decoder]}
"""
VOCAB = {
    "corpus": "  - {method: vocab}\n",
    "seen twice": "  - {method: vocab, least: 2}\n",
    "latin": "  - {method: vocab, languages: [en]}\n",
}
FRAMES = 1000
ROUNDS = 15
CONTEXT = 128


def build(model: str, name: str, steps: str, data: str) -> Path:
    """Compress, unless that was done before."""
    import penjing

    place = BUILD / f"low-rank-{Path(model).name}-{name.replace(' ', '-')}"
    if not (place / "penjing.json").is_file():
        place.parent.mkdir(parents=True, exist_ok=True)
        recipe = place.with_name(f"{place.name}.yaml")
        recipe.write_text(f'version: 1\nsteps:\n{steps}goals: ["size_bytes<200%"]\n')
        penjing.compress(model, place, recipe=str(recipe), data=data, threads=THREADS, overwrite=True)
    return place


def told(place: Path, metric: str) -> dict[str, Any]:
    """Bytes and quality before and after, and what steps changed."""
    report = json.loads((place / "report.json").read_text(encoding="utf8"))
    changed = [row["change"] for row in report["coverage"] if row["change"]]
    return {
        "size_bytes": {side: report[side]["size_bytes"] for side in ("source", "result")},
        metric: {side: report[side]["metrics"][metric]["value"] for side in ("source", "result")},
        "change": report["changes"].get(metric),
        "sites changed": len(changed),
        "changes": sorted(set(changed)),
    }


def in_engine(functions: dict[str, Any], base: str) -> dict[str, Any]:
    """Milliseconds of each in turns, and its ratio to one of them."""
    from penjing.evaluate.speed import interleave, latency, speed_ratio

    times = interleave(functions, rounds=ROUNDS)
    return {
        name: {"p50_ms": latency(own, THREADS).p50_ms, "ratio": speed_ratio(own, times[base]).as_json()}
        for name, own in times.items()
    }


def speech(model: str, cases: list[str]) -> None:
    """Encoders of all artifacts on one spectrogram."""
    import numpy as np

    from penjing.runtimes.engine import choose_engine

    engine = choose_engine(threads=THREADS, cache=False)
    places = {name: build(model, name, SPEECH[name] + AFTER, "speech") for name in cases}
    sound = {"input_features": np.random.default_rng(0).standard_normal((1, 80, FRAMES), dtype=np.float32)}
    graphs = {name: engine.open(place / "onnx" / "encoder_model.onnx") for name, place in places.items()}
    times = in_engine({name: (lambda graph=graph: graph(sound)) for name, graph in graphs.items()}, cases[0])
    found = {name: {**told(place, "wer"), "encoder": times[name]} for name, place in places.items()}
    write(f"low_rank-{Path(model).name}", {"engine": engine.name, "frames": FRAMES, "cases": found})


def vocab(model: str, cases: list[str]) -> None:
    """A step of every decoder, and of the source's."""
    import penjing

    places = {name: build(model, name, VOCAB[name], "text") for name in cases}
    functions: dict[str, Any] = {}
    for name, place in {"source": build(model, "source", SAME, "text"), **places}.items():
        runner = penjing.load(place, threads=THREADS)
        tokens = runner.tokens("The river runs through the quiet valley. " * 40)[:CONTEXT]
        runner.begin(tokens)
        functions[name] = lambda runner=runner, last=tokens[-1]: runner.write_one(last)
    times = in_engine(functions, "source")
    found = {name: {**told(place, "perplexity"), "token": times[name]} for name, place in places.items()}
    write(f"vocab-{Path(model).name}", {"source": times["source"], "cases": found})


SAME = "  - {method: rtn, bits: 8, group: 0, sites: ['model.layers.0.mlp.up_proj']}\n"
"""The source but for one layer: a recipe has to change something."""


def main() -> None:
    """Build what is missing and time everything in turns."""
    what, model, *rest = sys.argv[1:]
    if what == "speech":
        speech(model, rest or [*SPEECH])
    else:
        vocab(model, rest or [*VOCAB])


if __name__ == "__main__":
    main()
