"""What each tower of a model holds and costs: parameters, bytes, operations, measured milliseconds."""

from __future__ import annotations

import functools
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from penjing.errors import ModelError
from penjing.layers.half import half_tensors
from penjing.models.capture import call
from penjing.models.family import Model
from penjing.models.ledger import doors, ledger, owners
from penjing.models.network import quiet
from penjing.models.tower import Batch

RUNS = 5
BUDGET_S = 10.0
SEED = 0
Shape = tuple[int, ...]
Entries = Sequence[tuple[nn.Module, str]]


def inspect_model(model: Model) -> dict[str, Any]:
    """Return what `penjing inspect --json` prints. `size_bytes` of the model is what its weight files take on disk."""
    return {
        "family": model.family.name,
        "architecture": type(model.net).__name__,
        "parameters": model.source["parameters"],
        "size_bytes": model.source["size_bytes"],
        "tied": tied_names(model),
        "towers": profile(model),
    }


def tied_names(model: Model) -> list[list[str]]:
    """List the groups of parameter names that are one tensor."""
    groups: dict[int, list[str]] = {}
    for name, parameter in model.net.named_parameters(remove_duplicate=False):
        groups.setdefault(id(parameter), []).append(name)
    return [names for names in groups.values() if len(names) > 1]


def profile(model: Model) -> list[dict[str, Any]]:
    """Describe every tower. `macs`, `p50_ms` and `latency_share` are None where no synthetic input runs.

    The milliseconds are of torch eager float32 on this machine's threads, batch 1, on the family's probe; what the
    network does between its towers is counted to the tower that holds most of the surrounding module.
    """
    owned = owners(model.net, model.towers)
    counts = {name: parameter.numel() for name, parameter in model.net.named_parameters()}
    sizes = tower_bytes(model, owned)
    macs, p50_ms = _measure(model, owned)
    total_ms = sum(p50_ms.values())
    return [
        {
            "name": tower.name,
            "role": tower.role,
            "modality": tower.modality,
            "blocks": len(tower.blocks),
            "parameters": sum(counts.get(name, 0) for name in tower.parameter_names),
            "size_bytes": sizes[tower.name],
            "macs": int(macs[tower.name]) if macs else None,
            "p50_ms": p50_ms[tower.name] if p50_ms else None,
            "latency_share": p50_ms[tower.name] / total_ms if total_ms else None,
        }
        for tower in model.towers
    ]


def tower_bytes(model: Model, owned: Mapping[str, str]) -> dict[str, int]:
    """Bytes of each tower's parameters as they would be stored; compressed layers say their own `size_bytes`."""
    sizes = {tower.name: 0 for tower in model.towers}
    halves, seen = half_tensors(model.net), set()
    inner = ""
    for path, module in model.net.named_modules():
        if inner and path.startswith(inner + "."):
            continue
        above = path
        while above not in owned and above:
            above = above.rpartition(".")[0]
        stored = getattr(module, "size_bytes", None)
        if isinstance(stored, int):
            sizes[owned[above]] += stored
            inner = path
            continue
        for name, parameter in module.named_parameters(recurse=False):
            full = f"{path}.{name}" if path else name
            owner = next((tower.name for tower in model.towers if full in tower.parameter_names), owned.get(above))
            if owner and id(parameter) not in seen:
                seen.add(id(parameter))
                sizes[owner] += parameter.numel() * (2 if full in halves else parameter.element_size())
    return sizes


def _measure(model: Model, owned: Mapping[str, str]) -> tuple[dict[str, float], dict[str, float]]:
    """Multiply-accumulates and median milliseconds per tower; both empty where the probe cannot be built or run."""
    try:
        with quiet():
            probe = model.family.probe(model.net, SEED)
            runs = _runs(model, probe)
            entries = doors(model.net, model.towers, owned)
            macs = _count(model, entries, runs)
            times = _clock(model, entries, runs)
    except (ModelError, RuntimeError, ValueError, TypeError, KeyError, IndexError):
        return {}, {}
    return macs, times


def _runs(model: Model, probe: Batch) -> list[Callable[[], Any]]:
    """One run of the whole network; where it does not take the probe (a cut clip), one of each tower."""
    with torch.no_grad():
        try:
            call(model.net, probe)
        except (RuntimeError, ValueError, TypeError, KeyError, IndexError):
            return [lambda tower=tower: tower.run(probe) for tower in model.towers]  # type: ignore[misc]
    return [lambda: call(model.net, probe)]


def _count(model: Model, entries: Entries, runs: list[Callable[[], Any]]) -> dict[str, float]:
    """Count multiply-accumulates, half the floating-point operations of matrix products and convolutions."""
    best = {tower.name: 0.0 for tower in model.towers}
    extra = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops}
    for run in runs:
        counter = FlopCounterMode(display=False, custom_mapping=extra)
        read = functools.partial(_half_flops, counter)
        with torch.no_grad(), counter, ledger(entries, read) as spent:
            run()
        best = {name: max(value, spent.get(name, 0.0)) for name, value in best.items()}
    return best


def _half_flops(counter: FlopCounterMode) -> float:
    return counter.get_total_flops() / 2


def _clock(model: Model, entries: Entries, runs: list[Callable[[], Any]]) -> dict[str, float]:
    """Median milliseconds per tower, after the run that counted; fewer runs where one takes seconds."""
    best = {tower.name: 0.0 for tower in model.towers}
    start = time.perf_counter()
    for run in runs:
        rows: list[dict[str, float]] = []
        while not rows or (len(rows) < RUNS and time.perf_counter() - start < BUDGET_S):
            with torch.no_grad(), ledger(entries, lambda: time.perf_counter() * 1000) as spent:
                run()
            rows.append(spent)
        medians = {name: statistics.median(row.get(name, 0.0) for row in rows) for name in best}
        best = {name: max(value, medians[name]) for name, value in best.items()}
    return best


def _attention_flops(query: Shape, key: Shape, value: Shape, *rest: Any, out_shape: Any = None, **more: Any) -> int:
    """Operations of softmax(Q Kᵀ) V, which the counter of torch does not know on CPU. (batch, heads, tokens, width)."""
    batch, heads, tokens, width = query
    return 2 * batch * heads * tokens * key[-2] * (width + value[-1])
