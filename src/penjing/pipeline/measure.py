"""Measure source and result side by side: bytes, quality, milliseconds, memory, in the engine that will be deployed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from penjing.artifact.manifest import model_bytes
from penjing.calibrate.runner import reference_runner
from penjing.data.row import Row
from penjing.evaluate.interval import ItemScores, differences, measure_all
from penjing.evaluate.tolerance import OUT_OF_RANGE
from penjing.judge.footprint import peak_rss_bytes
from penjing.judge.speed import graph_latencies, item_latencies
from penjing.judge.tasks import SPEED_ROWS
from penjing.models.family import Component, Model
from penjing.pipeline.draws import Draws, draw_inputs
from penjing.pipeline.engines import EngineResult
from penjing.pipeline.judging import Judgement, JudgingPlan, judge_runners
from penjing.pipeline.outputs import Probed, compare_components, compare_towers
from penjing.pipeline.ranges import SiteRange, out_of_range
from penjing.runtimes import open_parts, own_parts
from penjing.runtimes.engine import Engine, Graph
from penjing.runtimes.parts import ArtifactParts
from penjing.values import Arrays, Latency, Measures, Metric, Tell


@dataclass(frozen=True, slots=True)
class Comparison:
    """Everything measured of source and result."""

    source: Measures
    result: Measures
    changes: Mapping[str, Metric] = field(default_factory=dict)
    tower_ms: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """tower -> p50 of its graphs, one after the other, before and after: on what a runner feeds them at once, or on
    the example of the export"""
    reference: Measures | None = None
    """the source in PyTorch eager float32: a further column"""
    judgement: Judgement = field(default_factory=lambda: Judgement({}))
    """what test rows gave: scores, shift, slices"""
    ranges: tuple[SiteRange, ...] = ()
    """how often test rows leave the calibrated ranges"""
    engines: tuple[EngineResult, ...] = ()
    """what the result reached in each engine, that of the run first"""


@dataclass(frozen=True, slots=True)
class Exported:
    """Graphs in a folder: what the shop must know of them, and example inputs by component, with the tower timed.

    `draws` are the inputs that outputs are compared on; None where rows judge.
    """

    folder: Path
    settings: Mapping[str, Any]
    inputs: Mapping[str, tuple[str, Arrays]]
    draws: Draws | None = None


Both = Mapping[str, Exported]
"""`source` and `result` -> its graphs."""


def exported(
    model: Model, components: Sequence[Component], folder: Path, seed: int | None = None, source: Draws | None = None
) -> Exported:
    """Describe graphs that were written to a folder.

    Args:
        model: the model as it is now.
        components: its graphs.
        folder: where they are.
        seed: of the inputs that outputs are compared on; None where rows judge.
        source: the inputs of the source, where these are graphs of the result.
    """
    inputs = {
        component.name: (
            component.tower,
            {name: tensor.numpy() for name, tensor in (component.one_call or component.inputs).items()},
        )
        for component in components
    }
    draws = None if seed is None else draw_inputs(model, components, seed, source)
    return Exported(folder, dict(model.settings), inputs, draws)


def compare(model: Model, both: Both, plan: JudgingPlan, engine: Engine, tell: Tell) -> Comparison:
    """Measure graphs of a model and of what became of it. Without rows, outputs are compared on synthetic inputs."""
    parts = open_both(model, both, engine)
    pairs = pairs_of(both, parts)
    tower_ms = time_towers(pairs, {name: tower for name, (tower, _) in both["result"].inputs.items()}, engine, tell)
    if plan.rows:
        runners = {name: open_parts(one) for name, one in parts.items()}
        del parts, pairs  # of decoders, runners have graphs of their own
        found = judge_runners(runners, plan, engine.threads, tell)
    else:
        found = Judgement({"source": {}, "result": compare_draws(pairs, both, tell)})
    scores = found.scores
    tell("measure memory", 0, 0)
    sizes = {"source": source_sizes(model), "result": result_sizes(both["result"].folder)}
    measured = {
        name: _measures(engine, sizes[name], scores[name], found.speeds.get(name), peak_rss_bytes(one.folder, engine))
        for name, one in both.items()
    }
    changes = differences(scores["source"], scores["result"])
    return Comparison(measured["source"], measured["result"], changes, tower_ms, judgement=found)


Pairs = Mapping[str, Mapping[str, tuple[Graph, Arrays]]]
"""component -> `source` and `result` -> its graph there, with the inputs that it is timed on."""


def open_both(model: Model, both: Both, engine: Engine) -> dict[str, ArtifactParts]:
    """The graphs of source and result in an engine; `model` is either."""
    return {
        name: own_parts(one.folder, {"task": model.family.task, "settings": one.settings}, engine)
        for name, one in both.items()
    }


def pairs_of(both: Both, parts: Mapping[str, ArtifactParts]) -> dict[str, dict[str, tuple[Graph, Arrays]]]:
    """Every component on both sides, with its inputs there."""
    return {
        component: {name: (parts[name].graph(component), one.inputs[component][1]) for name, one in both.items()}
        for component in both["result"].inputs
    }


def time_towers(pairs: Pairs, towers: Mapping[str, str], engine: Engine, tell: Tell) -> dict[str, tuple[float, float]]:
    """Time every component in turns; a tower takes what its components take together. `towers` are theirs by name."""
    tower_ms: dict[str, tuple[float, float]] = {}
    for done, (component, graphs) in enumerate(pairs.items()):
        tell("time towers", done, len(pairs))
        times = graph_latencies(graphs, engine.threads)
        before, after = tower_ms.get(towers[component], (0.0, 0.0))
        tower_ms[towers[component]] = (before + times["source"].p50_ms, after + times["result"].p50_ms)
    return tower_ms


def output_scores(model: Model, both: Both, engine: Engine, tell: Tell) -> Mapping[str, ItemScores]:
    """Compare the outputs of source and result in one more engine, on the source's draws."""
    return compare_draws(pairs_of(both, open_both(model, both, engine)), both, tell)


def with_ranges(comparison: Comparison, ranges: tuple[SiteRange, ...], *, shifted: bool) -> Comparison:
    """Add what test rows show of the calibrated ranges; where rows were shifted, as a metric of source and result."""
    if not shifted:
        return replace(comparison, ranges=ranges)
    source = replace(comparison.source, metrics={**comparison.source.metrics, OUT_OF_RANGE: out_of_range(())})
    result = replace(comparison.result, metrics={**comparison.result.metrics, OUT_OF_RANGE: out_of_range(ranges)})
    return replace(comparison, source=source, result=result, ranges=ranges)


def compare_draws(pairs: Pairs, both: Both, tell: Tell) -> dict[str, ItemScores]:
    """Compare the outputs of every component on the source's draws."""
    source, result = both["source"].draws, both["result"].draws
    assert source is not None, "the source was exported without a seed"
    assert result is not None, "the result was exported without a seed"
    tell("compare outputs", 0, 0)
    graphs = {component: (pair["source"][0], pair["result"][0]) for component, pair in pairs.items()}
    return compare_components(graphs, source, result)


def compare_in_torch(
    source: Model, result: Model, folder: Path, plan: JudgingPlan, threads: int, tell: Tell
) -> Comparison:
    """Measure the task of two networks in PyTorch; `folder` holds the files of the result."""
    runners = {"source": reference_runner(source), "result": reference_runner(result)}
    found = judge_runners(runners, plan, threads, tell)
    sizes = {"source": source_sizes(source), "result": result_sizes(folder)}
    scores = found.scores
    engine = Engine("torch", threads)
    measured = {name: _measures(engine, sizes[name], scores[name], found.speeds[name], None) for name in sizes}
    changes = differences(scores["source"], scores["result"])
    return Comparison(measured["source"], measured["result"], changes, judgement=found)


def time_in_torch(source: Model, rows: Sequence[Row], threads: int, tell: Tell) -> Measures:
    """Time items of the source in PyTorch eager float32, through the same runner."""
    tell("time PyTorch", 0, 0)
    runners = {"torch": reference_runner(source)}
    found = item_latencies(runners, rows, threads, rounds=SPEED_ROWS)["torch"]
    size_bytes, checkpoint_bytes = source_sizes(source)
    return Measures("torch", threads, size_bytes, found.p50_ms, found.p95_ms, checkpoint_bytes=checkpoint_bytes)


def compare_outputs_in_torch(model: Model, source: Probed, folder: Path, threads: int) -> Comparison:
    """Compare outputs of the towers before and after, where there is no task or no data; `model` is the result."""
    engine = Engine("torch", threads)
    return Comparison(
        _measures(engine, source_sizes(model), {}, None, None),
        _measures(engine, result_sizes(folder), compare_towers(source, model), None, None),
    )


def source_sizes(model: Model) -> tuple[int, int | None]:
    """What the gate compares bytes with: four per parameter of the source, and those of its files on disk."""
    return 4 * int(model.source["parameters"]), model.source.get("size_bytes")


def result_sizes(folder: Path) -> tuple[int, int]:
    """Bytes of the model files, as they are compared with the float32 source and with its checkpoint."""
    size_bytes = model_bytes(folder)
    return size_bytes, size_bytes


def _measures(
    engine: Engine,
    sizes: tuple[int, int | None],
    scores: Mapping[str, Any],
    speed: Latency | None,
    rss_bytes: int | None,
) -> Measures:
    return Measures(
        engine.name,
        engine.threads,
        sizes[0],
        speed.p50_ms if speed else None,
        speed.p95_ms if speed else None,
        rss_bytes,
        measure_all(scores),
        sizes[1],
    )
