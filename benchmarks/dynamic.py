"""Int8 activations without calibration data: dynamic.py [WHISPER]

The image encoder of CLIP ViT-B/32 (random weights) on one picture and, where a checkpoint is named, Whisper's encoder
on 10 seconds of speech, in both engines: float32, `rtn` with 8 bits, `dynamic_int8`, `static_int8` without float sites,
and one range for the whole tensor (`DynamicQuantizeLinear`, `MatMulInteger`). In ONNX Runtime `rtn` is `MatMulNBits` at
accuracy level 4, which has a range for each block of 128. Every engine runs in a process of its own, all forms in
turns; errors are those of the encoder's output against the source's float32 graph in ONNX Runtime.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from clip import random_clip
from timing import THREADS, in_turns, spread, write

ROUNDS, TURNS = 20, 3
STEPS: dict[str, list[tuple[str, dict[str, Any]]]] = {
    "float32": [],
    "rtn 8": [("rtn", {"bits": 8})],
    "dynamic_int8": [("dynamic_int8", {})],
    "static_int8": [("static_int8", {"max_error": 9.0})],
}
"""What is done to the encoder. Of `static_int8` nothing is given back, so that all forms round the same products."""
PER_TENSOR = "range per tensor"
"""Made of the graph of `dynamic_int8`."""
ENCODERS = {"clip": ("image", "vision_model"), "whisper": ("encoder", "encoder_model")}
"""Tower and component."""


def batches_of(model: Any, kind: str) -> list[Any]:
    """Real items: eight to calibrate with, and the one that errors are measured on."""
    from penjing.data.source import load_dataset

    rows = load_dataset("speech" if kind == "whisper" else "pictures").rows[:9]
    return list(model.family.batches(model.settings, model.folder, rows))


def build(checkpoint: str, kind: str, folder: Path) -> None:
    """Export the encoder in every form, and the inputs of one item."""
    import numpy as np
    import onnx
    import torch

    from penjing.artifact.export import export_component
    from penjing.methods import Aids, make
    from penjing.models.open import open_model

    torch.set_num_threads(THREADS)
    tower_name, component_name = ENCODERS[kind]
    for name, steps in STEPS.items():
        model = open_model(checkpoint)
        *calibration, _ = batches = batches_of(model, kind)
        tower = next(tower for tower in model.towers if tower.name == tower_name)
        for method, settings in steps:
            make(method, settings).run(tower, calibration, Aids(model, calibration[:2], 0, folder))
        component = next(part for part in model.family.components(model.net) if part.name == component_name)
        form = folder / name
        form.mkdir(parents=True)
        path = export_component(component, form).rename(form / "graph.onnx")
        if name == "dynamic_int8":
            (folder / PER_TENSOR).mkdir()
            graph = onnx.load(str(path))
            per_tensor(graph.graph)
            onnx.save(graph, str(folder / PER_TENSOR / "graph.onnx"))
        if kind == "whisper":
            inputs = {"input_features": batches[-1]["input_features"][..., :1000].numpy()}
        else:
            inputs = {"pixel_values": batches[-1]["pixel_values"].numpy()}
    np.savez(folder / "inputs.npz", **inputs)


def per_tensor(graph: Any) -> None:
    """Turn products of rows with ranges of their own into `DynamicQuantizeLinear` and `MatMulInteger`, in place."""
    from onnx import TensorProto, helper

    makers = {name: node for node in graph.node for name in node.output}
    for product in [node for node in graph.node if node.op_type == "MatMul"]:
        rounded, weights = (makers.get(name) for name in product.input)
        if rounded is None or weights is None or {rounded.op_type, weights.op_type} != {"DequantizeLinear"}:
            continue
        values = makers[makers[rounded.input[0]].input[0]].input[0]
        (after,) = (node for node in graph.node if product.output[0] in node.input)
        codes, scales = weights.input[:2]
        name = product.output[0]
        quantized = [f"{name}.{part}" for part in ("codes", "scale", "zero")]
        made = [
            helper.make_node("DynamicQuantizeLinear", [values], quantized),
            helper.make_node("MatMulInteger", [quantized[0], codes, quantized[2]], [f"{name}.sums"]),
            helper.make_node("Cast", [f"{name}.sums"], [f"{name}.float"], to=TensorProto.FLOAT),
            helper.make_node("Mul", [quantized[1], scales], [f"{name}.scales"]),
            helper.make_node("Mul", [f"{name}.float", f"{name}.scales"], [after.output[0]]),
        ]
        position = list(graph.node).index(after)
        graph.node.remove(after)
        graph.node.remove(product)
        for node in reversed(made):
            graph.node.insert(position - 1, node)
    drop_unread(graph)


def drop_unread(graph: Any) -> None:
    """Remove nodes that nothing reads any more, in place: ONNX Runtime would run them."""
    read = {output.name for output in graph.output}
    for node in reversed(list(graph.node)):
        if read.isdisjoint(node.output):
            graph.node.remove(node)
        else:
            read.update(node.input)


def every_form(engine: str, folder: Path) -> Iterator[tuple[str, Callable[[dict[str, Any]], dict[str, Any]]]]:
    """The graphs of a folder, open in an engine."""
    from penjing.runtimes.engine import Engine

    for name in (*STEPS, PER_TENSOR):
        yield name, Engine(engine, THREADS, cache=False).open(folder / name / "graph.onnx")  # type: ignore[arg-type]


def time_one(engine: str, folder: Path) -> None:
    """Median milliseconds and output error of every form in one engine."""
    import numpy as np

    from penjing.evaluate.speed import interleave
    from penjing.runtimes.engine import Engine

    inputs = dict(np.load(folder / "inputs.npz"))
    graphs = dict(every_form(engine, folder))
    runs = {name: (lambda graph=graph: graph(inputs)) for name, graph in graphs.items()}
    samples = interleave(runs, rounds=ROUNDS, warm_up=3)
    source = Engine("onnxruntime", THREADS).open(folder / "float32" / "graph.onnx")(inputs)
    first = next(iter(source))
    errors = {
        name: float(np.linalg.norm(graph(inputs)[first] - source[first]) / np.linalg.norm(source[first]))
        for name, graph in graphs.items()
    }
    print(json.dumps({name: [float(np.median(samples[name])), errors[name]] for name in graphs}))


def main(whisper: str | None) -> None:
    """Build, then time engine after engine in turns."""
    document: dict[str, Any] = {}
    for kind in ("clip", "whisper") if whisper else ("clip",):
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            if kind == "clip":
                random_clip(folder / "checkpoint")
            build(str(folder / "checkpoint") if kind == "clip" else str(whisper), kind, folder / "graphs")
            engines = ("openvino", "onnxruntime")
            commands = {name: [sys.executable, __file__, name, str(folder / "graphs")] for name in engines}
            for engine, turns in in_turns(commands, TURNS).items():
                document[f"{kind}, {engine}"] = {
                    name: {"p50_ms": spread([turn[name][0] for turn in turns]), "error": turns[0][name][1]}
                    for name in turns[0]
                }
        write("dynamic", document)  # after each: a run is long


if __name__ == "__main__":
    if len(sys.argv) > 2:
        time_one(sys.argv[1], Path(sys.argv[2]))
    else:
        main(sys.argv[1] if len(sys.argv) > 1 else None)
