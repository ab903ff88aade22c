"""OpenVINO: the fast engine on x86."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from penjing.artifact.manifest import file_hash
from penjing.errors import EngineError
from penjing.values import Array, Arrays

if TYPE_CHECKING:
    from penjing.runtimes.engine import Engine

RESULT_SUFFIX = "/sink_port_0"
"""What OpenVINO adds to the name of an output."""

_CORE: list[Any] = []


def core() -> Any:
    """The one OpenVINO core of this process; making one loads every plugin."""
    if not _CORE:
        import openvino

        _CORE.append(openvino.Core())
    return _CORE[0]


def properties(engine: Engine, path: Path | None = None) -> dict[str, str]:
    """Compile options. Without the precision hint OpenVINO picks bfloat16 where the chip knows it, which is slow.

    A graph opened by its path is cached by its content: OpenVINO itself asks only whether path, size and the second of
    the last change are the same, and would run an old model in place of a new one.
    """
    from penjing.runtimes.engine import cache_folder

    options = {
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": str(engine.threads),
        "NUM_STREAMS": "1",
    }
    if engine.exact:
        options |= {"DYNAMIC_QUANTIZATION_GROUP_SIZE": "0", "KV_CACHE_PRECISION": "f32"}
    if engine.cache:
        folder = cache_folder() / "openvino"
        options["CACHE_DIR"] = str(folder / file_hash(path)[:16] if path else folder)
    return options


class OpenVinoGraph:
    """A graph in OpenVINO's CPU plugin."""

    def __init__(self, path: Path, engine: Engine) -> None:
        self._request = compile_graph(path, path, engine).create_infer_request()
        model = self._request.get_compiled_model()
        self.inputs = [_name_of(port) for port in model.inputs]
        self.outputs = [_name_of(port) for port in model.outputs]

    def __call__(self, arrays: Arrays) -> dict[str, Array]:
        """Run the graph on the inputs it has; other arrays are ignored. Outputs are copies."""
        self._request.infer({name: np.ascontiguousarray(arrays[name]) for name in self.inputs}, share_inputs=True)
        return {name: self._request.get_output_tensor(place).data.copy() for place, name in enumerate(self.outputs)}


def _name_of(port: Any) -> str:
    """The name an input or output has in the ONNX graph.

    Compiling fuses nodes, and the names of a fused one's tensors gather on one port: any of them may come first.
    """
    name: str = port.node.get_friendly_name().removesuffix(RESULT_SUFFIX)
    return name if name in port.get_names() else str(port.get_any_name())


def compile_graph(model: Any, path: Path, engine: Engine) -> Any:
    """Compile a path or a changed model; a graph that OpenVINO cannot run is an EngineError."""
    try:
        if isinstance(model, Path):
            return core().compile_model(str(model), "CPU", properties(engine, path))
        return core().compile_model(model, "CPU", properties(engine))
    except RuntimeError as error:
        raise _cannot_open(path, error) from error


def read_graph(path: Path) -> Any:
    """Read a graph to change it before it is compiled."""
    if not path.exists():
        raise EngineError(f"{path} does not exist", hint="is this a whole artifact?")
    try:
        return core().read_model(str(path))
    except RuntimeError as error:
        raise _cannot_open(path, error) from error


def _cannot_open(path: Path, error: Exception) -> EngineError:
    """Say what OpenVINO said last, on one line."""
    reason = next((line.strip() for line in reversed(str(error).splitlines()) if line.strip()), "unknown reason")
    return EngineError(
        f"OpenVINO cannot open {path.name}: {reason}", hint="try --engine onnxruntime; is the artifact whole?"
    )
