"""Milliseconds a token of a language model in 4 bits: decoding.py MODEL [--gguf FILE]

MODEL is a folder of SmolLM2-135M-Instruct, or any other causal model. Its layers are rounded to 4 bits in groups of
64 and its table to 8 bits; 64 tokens are written behind 128, and the median of a token is taken. Every system runs in
a fresh process, in turns: the artifact in both engines, the source's float32 graph in OpenVINO, transformers eager
float32, and llama.cpp on the same model's GGUF by the Python that $PENJING_LLAMA_PYTHON names. What memory alone
allows stands beside: the bytes that a token must read, at the speed at which this machine reads them.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from timing import BUILD, THREADS, in_turns, ratios, spread, write

CONTEXT, WRITTEN = 128, 64
RECIPE = """version: 1
steps:
  - {method: rtn, bits: 4, group: 64, towers: [decoder]}
  - {method: rtn, bits: 8, towers: [embedding]}
goals: ["size_bytes<100%"]
"""


def timed(begin: Callable[[], object], one: Callable[[], object]) -> None:
    """Read the context, write the tokens, print the median."""
    taken = []
    begin()
    for _ in range(WRITTEN):
        start = time.perf_counter()
        one()
        taken.append(1e3 * (time.perf_counter() - start))
    print(json.dumps(statistics.median(taken)))


def run_penjing(folder: str, engine: str) -> None:
    """An artifact, or a folder of graphs, in an engine."""
    import penjing

    runner = penjing.load(folder, engine, THREADS)
    timed(lambda: runner.begin(list(range(1, CONTEXT + 1))), lambda: runner.write_one(7))


def run_eager(folder: str) -> None:
    """transformers, float32."""
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(THREADS)
    net = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    past: list[Any] = [None]

    def read(tokens: list[int]) -> None:
        with torch.no_grad():
            past[0] = net(torch.tensor([tokens]), past_key_values=past[0], use_cache=True).past_key_values

    timed(lambda: read(list(range(1, CONTEXT + 1))), lambda: read([7]))


def run_llama(file: str) -> None:
    """llama.cpp."""
    from llama_cpp import Llama

    model = Llama(file, n_ctx=512, n_threads=THREADS, n_threads_batch=THREADS, verbose=False)
    timed(lambda: model.eval(list(range(1, CONTEXT + 1))), lambda: model.eval([7]))


def run_memory(bytes_read: str) -> None:
    """Milliseconds of reading so many bytes from memory, all threads together; best of many."""
    import torch

    torch.set_num_threads(THREADS)
    block = torch.ones(int(bytes_read) // 4)
    passes = max(1, 2**30 // int(bytes_read))
    best = float("inf")
    for _ in range(20):
        start = time.perf_counter()
        for _ in range(passes):
            block.sum()
        best = min(best, 1e3 * (time.perf_counter() - start) / passes)
    print(json.dumps(best))


def artifacts(model: str) -> tuple[Path, Path]:
    """The 4-bit artifact and the source's float32 graphs, made once."""
    import penjing
    from penjing.models.open import open_model
    from penjing.pipeline.graphs import export_graphs, runnable
    from penjing.values import silent

    small, source = BUILD / "decoding-4bit", BUILD / "decoding-float"
    if not small.exists():
        recipe = BUILD / "decoding.yaml"
        recipe.parent.mkdir(parents=True, exist_ok=True)
        recipe.write_text(RECIPE)
        penjing.compress(model, small, recipe=str(recipe))
    if not (source / "penjing.json").exists():
        opened = open_model(model)
        source.mkdir(parents=True, exist_ok=True)
        export_graphs(opened, source, "source", silent)
        runnable(opened, source)
    return small, source


def main() -> None:
    """Run one system, or all of them in turns."""
    runs = {"penjing": run_penjing, "eager": run_eager, "llama": run_llama, "memory": run_memory}
    if sys.argv[1] in runs:
        runs[sys.argv[1]](*sys.argv[2:])
        return
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--gguf")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    small, source = artifacts(arguments.model)
    read_bytes = sum(path.stat().st_size for path in (small / "onnx").iterdir())
    own = [sys.executable, __file__]
    commands = {
        "openvino, 4 bit": [*own, "penjing", str(small), "openvino"],
        "onnxruntime, 4 bit": [*own, "penjing", str(small), "onnxruntime"],
        "openvino, float32": [*own, "penjing", str(source), "openvino"],
        "eager": [*own, "eager", arguments.model],
        "memory bound, 4 bit": [*own, "memory", str(read_bytes)],
    }
    if arguments.gguf:
        commands["llama.cpp"] = [os.environ["PENJING_LLAMA_PYTHON"], __file__, "llama", arguments.gguf]
    found = in_turns(commands, arguments.rounds)
    document: dict[str, Any] = {
        "bytes": read_bytes,
        "ms_per_token": {name: spread(values) for name, values in found.items()},
        "times as fast as eager": {name: ratios(found, "eager", name) for name in commands if name != "eager"},
    }
    if arguments.gguf:
        document["openvino times as fast as llama.cpp"] = ratios(found, "llama.cpp", "openvino, 4 bit")
    write("decoding", document)


if __name__ == "__main__":
    main()
