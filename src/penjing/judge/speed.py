"""How long one item takes through the whole task, source and result in turns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import cycle
from typing import Any

from penjing.data.row import Row
from penjing.evaluate.speed import interleave, latency
from penjing.judge.multimodal import use
from penjing.judge.sight import USES, fitting, look
from penjing.judge.tasks import transcribe_row
from penjing.runtimes.engine import Graph
from penjing.values import Arrays, Latency

SPEED_ROWS = 8
"""Rows that items are timed on, one after the other."""
CONTEXT_TOKENS = 128
"""Tokens of a text that a language model has read when the time of one more is taken."""


def item_latencies(
    runners: Mapping[str, Any], rows: Sequence[Row], threads: int, rounds: int = 12
) -> dict[str, Latency]:
    """Time each runner on the first rows that it can be used for, round after round; file to answer."""
    functions = {name: _one_item(runner, rows) for name, runner in runners.items()}
    samples = interleave(functions, rounds=rounds, warm_up=min(2, len(rows)))
    return {name: latency(times, threads) for name, times in samples.items()}


def graph_latencies(graphs: Mapping[str, Graph], inputs: Arrays, threads: int, rounds: int = 10) -> dict[str, Latency]:
    """Time graphs of one interface on the same inputs."""
    functions = {name: (lambda graph=graph: graph(inputs)) for name, graph in graphs.items()}
    return {name: latency(times, threads) for name, times in interleave(functions, rounds=rounds).items()}


def _one_item(runner: Any, rows: Sequence[Row]) -> Callable[[], object]:
    """A function that runs the task on the next row each time it is called."""
    turns = cycle(rows[:SPEED_ROWS])
    if runner.task == "speech-seq2seq":
        return lambda: transcribe_row(runner, next(turns))
    if runner.task == "multimodal":
        return lambda: use(runner, next(turns))
    if runner.task in USES:
        seen = cycle(fitting(runner.task, rows)[:SPEED_ROWS])
        return lambda: look(runner, next(seen))
    if runner.task == "causal-lm":
        return _one_token(runner, rows[0])
    if runner.task == "classifier":
        return lambda: runner.classify_row(next(turns))
    return lambda: runner.embed_rows([next(turns)])


def _one_token(runner: Any, row: Row) -> Callable[[], object]:
    """A function that writes one more token behind a text."""
    tokens = runner.tokens(row.fields["text"])[:CONTEXT_TOKENS]
    runner.begin(tokens)
    return lambda: runner.write_one(tokens[-1])
