"""ONNX Runtime: the portable engine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from penjing.errors import EngineError
from penjing.extras import need
from penjing.runtimes.engine import Outputs, cannot_run, feed_of
from penjing.runtimes.unrounded import unround_onnx
from penjing.values import Array, Arrays

if TYPE_CHECKING:
    from penjing.runtimes.engine import Engine

WARNING_LEVEL = 3
"""Only errors: the CPU provider warns of nodes it keeps in float, which the coverage table already says."""


NAMES = {"float": "float32", "double": "float64", "boolean": "bool"}
"""Types that ONNX Runtime calls otherwise than numpy."""


class OnnxRuntimeGraph:
    """A graph in ONNX Runtime's CPU provider."""

    def __init__(self, path: Path, engine: Engine) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = engine.threads
        options.inter_op_num_threads = 1
        options.log_severity_level = WARNING_LEVEL
        # Waking a thread for every operator costs a decoder a quarter of its time, and threads that still spin after
        # a run take the cores from whatever comes next: Whisper tiny.en took 1.40 s for 12 clips with this, 1.62 s
        # without any spinning and 2.21 s with spinning to the end (medians of 8 turns, two cores).
        options.add_session_config_entry("session.force_spinning_stop", "1")
        # A cache grows at every step: the memory planned for one shape never serves again.
        options.enable_mem_pattern = False
        if engine.exact:
            need("onnx", "compress")
            # Dequantized weights and their product become one operator, which would round activations by itself.
            options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "0")
        try:
            model: str | bytes = _exact_copy(path) if engine.exact else str(path)
            self._session: Any = onnxruntime.InferenceSession(
                model, options, providers=["CPUExecutionProvider"], enable_fallback=False
            )
        except Exception as error:  # every failure to load is a bare exception of its own kind in ONNX Runtime
            reason = " ".join(str(error).split())[:300]
            raise EngineError(
                f"ONNX Runtime cannot open {path.name}: {reason}", hint="is the artifact whole?"
            ) from error
        self._name = path.name
        self._types = {value.name: value.type for value in self._session.get_inputs()}
        self.inputs = [*self._types]
        self.outputs = [value.name for value in self._session.get_outputs()]

    def dtype(self, name: str) -> np.dtype[Any]:
        """What kind of numbers an input takes: `tensor(int8)` becomes int8."""
        inner = self._types[name].removeprefix("tensor(").removesuffix(")")
        found: np.dtype[Any] = np.dtype(NAMES.get(inner, inner))
        return found

    def __call__(self, arrays: Arrays) -> dict[str, Array]:
        """Run the graph on the inputs it has; other arrays are ignored."""
        feed = feed_of(self._name, self.inputs, arrays)
        try:
            found = self._session.run(None, feed)
        except Exception as error:  # every failure to run is a bare exception of its own kind, too
            raise cannot_run(self._name, error) from error
        return Outputs(self._name, dict(zip(self.outputs, found, strict=True)))


def _exact_copy(path: Path) -> bytes:
    """The graph with float activations: `MatMulNBits` at accuracy level 0, no row rounded by a range of its own."""
    onnx = need("onnx", "compress")
    graph = onnx.load(str(path))
    for node in graph.graph.node:
        if node.op_type == "MatMulNBits":
            for attribute in node.attribute:
                if attribute.name == "accuracy_level":
                    attribute.i = 0
    unround_onnx(graph.graph)
    data: bytes = graph.SerializeToString()
    return data
