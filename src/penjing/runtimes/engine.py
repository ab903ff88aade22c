"""Engines: whatever runs one ONNX graph. A graph is a function from named arrays to named arrays."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from penjing.errors import EngineError, did_you_mean
from penjing.extras import have, need
from penjing.values import Array, Arrays

EngineName = Literal["openvino", "onnxruntime", "torch"]
ENGINES: tuple[EngineName, ...] = ("openvino", "onnxruntime", "torch")

WHOLE = "are settings and graphs of one artifact? copy it again"
INT8_FLAGS = {"avx_vnni", "avx512_vnni", "amx_int8"}


class Graph(Protocol):
    """One component in one engine. `inputs` and `outputs` are its tensor names."""

    @property
    def inputs(self) -> Sequence[str]:
        """Names of the inputs, in order."""

    @property
    def outputs(self) -> Sequence[str]:
        """Names of the outputs, in order."""

    def dtype(self, name: str) -> np.dtype[Any]:
        """What kind of numbers an input takes."""

    def __call__(self, arrays: Arrays) -> dict[str, Array]:
        """Run the graph once."""


class Outputs(dict[str, Array]):
    """What a graph gave, by name. Asking for what it did not give is an EngineError: it is another model's graph."""

    def __init__(self, graph: str, arrays: Mapping[str, Array]) -> None:
        super().__init__(arrays)
        self._graph = graph

    def __missing__(self, name: str) -> Array:
        """Say which output the graph lacks."""
        raise EngineError(f"the graph {self._graph} gives no {name}", hint=WHOLE)


def feed_of(graph: str, inputs: Sequence[str], arrays: Arrays) -> dict[str, Array]:
    """The arrays that a graph takes; one that nobody has is an EngineError."""
    for name in inputs:
        if name not in arrays:
            raise EngineError(f"the graph {graph} asks for {name}, which nothing gives it", hint=WHOLE)
    return {name: arrays[name] for name in inputs}


def cannot_run(graph: str, error: Exception) -> EngineError:
    """What to say where an engine refuses to run a graph on what it was given: the settings are another model's."""
    reason = " ".join(str(error).split())[:300] or type(error).__name__
    return EngineError(f"the graph {graph} cannot run: {reason}", hint=WHOLE)


@dataclass(frozen=True, slots=True)
class Engine:
    """A choice of engine and how it runs.

    `exact` turns off what engines do on their own (int8 activations on the fly), so that answers equal the torch
    reference. `cache` lets the engine keep compiled graphs in the user's cache folder.
    """

    name: EngineName
    threads: int
    exact: bool = False
    cache: bool = True

    def open(self, path: Path) -> Graph:
        """Open one graph file."""
        if not path.exists():
            raise EngineError(f"{path} does not exist", hint="is this a whole artifact?")
        if self.name == "openvino":
            from penjing.runtimes.openvino import OpenVinoGraph

            return OpenVinoGraph(path, self)
        if self.name == "onnxruntime":
            from penjing.runtimes.onnx import OnnxRuntimeGraph

            return OnnxRuntimeGraph(path, self)
        raise EngineError(
            "the engine torch runs models, not ONNX graphs",
            hint="use --engine openvino or onnxruntime on an artifact; torch needs its checkpoint/",
        )


def choose_engine(name: str = "auto", threads: int | None = None, *, exact: bool = False, cache: bool = True) -> Engine:
    """Resolve `auto` and the number of threads (all cores).

    `auto` is OpenVINO where it is installed and the chip multiplies int8 natively, else ONNX Runtime: without VNNI the
    two are about even on encoders, and ONNX Runtime decodes a token in half the time (tiny.en: 2.7 against 4.7 ms).
    """
    if name == "auto":
        name = "openvino" if have("openvino") and multiplies_int8() else "onnxruntime"
    for engine in ENGINES:
        if engine == name:
            if engine == "openvino":
                need("openvino", "openvino")
            if threads is not None and not isinstance(threads, int):
                raise EngineError(f"threads is {threads!r}, not a whole number", hint="give threads=1 or more")
            if threads is not None and threads < 1:
                raise EngineError(f"{threads} threads cannot run anything", hint="give --threads 1 or more")
            return Engine(engine, threads or available_cores(), exact, cache)
    raise EngineError(f"no engine called {name!r}", hint=did_you_mean(name, ["auto", *ENGINES]))


def available_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def multiplies_int8() -> bool:
    """Return whether this chip has instructions for int8 products (VNNI, AMX); True where the system does not tell."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf8")
    except OSError:
        return True
    flags = {flag for line in text.splitlines() if line.startswith("flags") for flag in line.split()}
    return not flags or bool(flags & INT8_FLAGS)


def cache_folder() -> Path:
    """Where engines keep compiled graphs: $PENJING_CACHE, else the user's cache folder."""
    base = os.environ.get("PENJING_CACHE")
    if base:
        return Path(base)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "penjing"
