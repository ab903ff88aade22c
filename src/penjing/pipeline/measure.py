"""Measure source and result side by side: bytes, quality, milliseconds, memory, in the engine that will be deployed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from penjing.artifact.export import export_component
from penjing.artifact.manifest import FORMAT, NAME, model_bytes, write_json
from penjing.data.row import Row
from penjing.evaluate.interval import differences, measure_all
from penjing.judge.footprint import peak_rss_bytes
from penjing.judge.quality import Judged, compare_outputs, judge
from penjing.judge.speed import graph_latencies, item_latencies
from penjing.models.family import Component, Model
from penjing.models.reference import TorchGraph
from penjing.pipeline.job import Tell
from penjing.runtimes import open_runner
from penjing.runtimes.engine import Engine
from penjing.values import Latency, Measures, Metric

SPEED_ROWS = 8


@dataclass(frozen=True, slots=True)
class Comparison:
    """Everything measured of source and result."""

    source: Measures
    result: Measures
    changes: Mapping[str, Metric]
    tower_ms: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """tower -> p50 of its graph before and after, on the example input of the export"""
    said: tuple[Judged, Judged] | None = None


def export_graphs(model: Model, folder: Path, label: str, tell: Tell) -> list[Component]:
    """Write every component of a model to `folder/onnx`, with what a runner needs beside it."""
    components = model.family.components(model.net)
    (folder / "onnx").mkdir(parents=True, exist_ok=True)
    for place, component in enumerate(components):
        tell(f"export {label}", place, len(components))
        export_component(component, folder / "onnx")
    tell(f"export {label}", len(components), len(components))
    return components


def runnable(model: Model, folder: Path) -> None:
    """Make a folder of graphs openable by a runner: settings and tokenizer, nothing else."""
    write_json(folder / NAME, {"format": FORMAT, "task": model.family.task, "settings": dict(model.settings)})
    tokenizer = model.folder / "tokenizer.json"
    if tokenizer.exists():
        (folder / "tokenizer.json").write_bytes(tokenizer.read_bytes())


def compare(model: Model, source: Path, result: Path, rows: Sequence[Row], engine: Engine, tell: Tell) -> Comparison:
    """Measure two folders of graphs of the same model. Without rows, outputs are compared on synthetic inputs."""
    manifest: dict[str, Any] = {"task": model.family.task, "settings": dict(model.settings)}
    components = model.family.components(model.net)
    tower_ms, pairs = {}, []
    for component in components:
        tell("time towers", len(pairs), len(components))
        inputs = {name: tensor.numpy() for name, tensor in component.inputs.items()}
        graphs = [engine.open(folder / "onnx" / f"{component.name}.onnx") for folder in (source, result)]
        times = graph_latencies(dict(zip(("source", "result"), graphs, strict=True)), inputs, engine.threads)
        tower_ms[component.tower] = (times["source"].p50_ms, times["result"].p50_ms)
        pairs.append((graphs[0], graphs[1], inputs))
    if rows:
        runners = {
            name: open_runner(folder, manifest, engine) for name, folder in (("source", source), ("result", result))
        }
        judged = {
            name: judge(runner, rows, lambda done, total, name=name: tell(f"judge {name}", done, total))  # type: ignore[misc]
            for name, runner in runners.items()
        }
        tell("time items", 0, 0)
        speeds = item_latencies(runners, rows[:SPEED_ROWS], engine.threads)
        before, after = judged["source"].scores, judged["result"].scores
        said = (judged["source"], judged["result"])
    else:
        after = compare_outputs(pairs)
        before, speeds, said = {}, {}, None
    tell("measure memory", 0, 0)
    return Comparison(
        _measures(engine, 4 * int(model.source["parameters"]), source, before, speeds.get("source")),
        _measures(engine, model_bytes(result), result, after, speeds.get("result")),
        differences(before, after),
        tower_ms,
        said,
    )


def compare_checkpoints(source: Sequence[Any], result: Sequence[Any], source_bytes: int, folder: Path) -> Comparison:
    """Compare outputs of the towers in PyTorch, for a model that no engine runs."""
    from penjing.evaluate.similarity import cosine

    scores = {"cosine": cosine(source, result)}
    return Comparison(
        Measures("torch", 1, source_bytes),
        Measures("torch", 1, model_bytes(folder), metrics=measure_all(scores)),
        {},
    )


def time_reference(model: Model, rows: Sequence[Row], threads: int) -> Measures:
    """The source in PyTorch eager float32, through the same runner: a further column."""
    import torch

    torch.set_num_threads(threads)
    runner = reference_runner(model)
    found = item_latencies({"torch": runner}, rows[:SPEED_ROWS], threads, rounds=SPEED_ROWS)["torch"]
    return Measures("torch", threads, 4 * int(model.source["parameters"]), found.p50_ms, found.p95_ms)


def reference_runner(model: Model) -> Any:
    """A runner of the model's task whose graphs are PyTorch modules."""
    graphs = {component.name: TorchGraph(component) for component in model.family.components(model.net)}
    if model.family.task == "speech-seq2seq":
        from penjing.runtimes.decoding import GraphDecoder
        from penjing.runtimes.speech import SpeechRunner

        decoder = GraphDecoder(graphs["decoder_with_past_model"], model.settings)
        return SpeechRunner(graphs["encoder_model"], decoder, model.settings, model.folder / "tokenizer.json")
    from penjing.runtimes.dual import GRAPHS, DualRunner

    sides = {side: graphs[name] for side, name in GRAPHS.items() if name in graphs}
    return DualRunner(sides, model.settings, model.folder / "tokenizer.json")


def _measures(
    engine: Engine, size_bytes: int, folder: Path, scores: Mapping[str, Any], speed: Latency | None
) -> Measures:
    return Measures(
        engine.name,
        engine.threads,
        size_bytes,
        speed.p50_ms if speed else None,
        speed.p95_ms if speed else None,
        peak_rss_bytes(folder, engine),
        measure_all(scores),
    )
