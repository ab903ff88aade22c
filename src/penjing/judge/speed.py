"""How long one item takes through the whole task, source and result in turns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from penjing.data.row import Row
from penjing.evaluate.speed import interleave, latency
from penjing.judge.tasks import task_of
from penjing.runtimes.engine import Graph
from penjing.values import Arrays, Latency

BUDGET_S = 60.0
"""Where an item takes seconds (a picture cut into 17 tiles), fewer rounds are timed."""


def item_latencies(
    runners: Mapping[str, Any], rows: Sequence[Row], threads: int, rounds: int = 12
) -> dict[str, Latency]:
    """Time each runner on the first rows that it can be used for, round after round; file to answer."""
    functions = {name: task_of(runner.task).item(runner, rows) for name, runner in runners.items()}
    samples = interleave(functions, rounds=rounds, warm_up=min(2, len(rows)), budget_s=BUDGET_S)
    return {name: latency(times, threads) for name, times in samples.items()}


def graph_latencies(graphs: Mapping[str, tuple[Graph, Arrays]], threads: int, rounds: int = 10) -> dict[str, Latency]:
    """Time graphs in turns, each on its own inputs."""
    functions = {name: (lambda graph=graph, inputs=inputs: graph(inputs)) for name, (graph, inputs) in graphs.items()}
    found = interleave(functions, rounds=rounds, budget_s=BUDGET_S)
    return {name: latency(times, threads) for name, times in found.items()}
