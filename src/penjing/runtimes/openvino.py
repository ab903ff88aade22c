"""OpenVINO: the fast engine on x86."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from penjing.errors import EngineError
from penjing.runtimes.engine import Outputs, cannot_run, feed_of
from penjing.runtimes.openvino_products import products_as_convolutions
from penjing.runtimes.unrounded import unround_openvino
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

    A graph opened by its path is cached by its content (`content_key`): OpenVINO itself asks only whether path, size
    and the second of the last change are the same, and would run an old model in place of a new one.

    Threads are tied to cores, from the first on. Where they are fewer than the cores, another process may be tied to
    the same ones (two of one thread each on two cores: 76 images a second of CLIP ViT-B/32, and 119 when not tied).
    """
    from penjing.runtimes.engine import available_cores, cache_folder

    options = {
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": str(engine.threads),
        "NUM_STREAMS": "1",
        "KV_CACHE_PRECISION": "f32",  # int8 is for a recipe to choose and for the gate to judge
    }
    if engine.threads < available_cores():
        options["ENABLE_CPU_PINNING"] = "NO"
    if engine.exact:
        options["DYNAMIC_QUANTIZATION_GROUP_SIZE"] = "0"
    if engine.cache:
        folder = cache_folder() / "openvino"
        options["CACHE_DIR"] = str(folder / content_key(path)[:32] if path else folder)
    return options


def content_key(path: Path) -> str:
    """Hash of all that a graph is: its own file, and those beside it that it may read its tables from."""
    from penjing.runtimes.integrity import digest_of

    beside = (other for other in sorted(path.parent.iterdir()) if other.suffix != ".onnx" and other.is_file())
    digests = [digest_of(path), *(f"{other.name} {digest_of(other)}" for other in beside)]
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()


class OpenVinoGraph:
    """A graph in OpenVINO's CPU plugin."""

    def __init__(self, path: Path, engine: Engine) -> None:
        self._name = path.name
        model, self._one_by_one = _fit_to_chip(path, engine)
        self._request = compile_graph(model, path, engine).create_infer_request()
        compiled = self._request.get_compiled_model()
        self._types = {_name_of(port): port.element_type.to_dtype() for port in compiled.inputs}
        self.inputs = [*self._types]
        self.outputs = [_name_of(port) for port in compiled.outputs]

    def dtype(self, name: str) -> np.dtype[Any]:
        """What kind of numbers an input takes."""
        found: np.dtype[Any] = np.dtype(self._types[name])
        return found

    def __call__(self, arrays: Arrays) -> dict[str, Array]:
        """Run the graph on the inputs it has; other arrays are ignored. Outputs are copies."""
        given = feed_of(self._name, self.inputs, arrays)
        feed = {name: np.ascontiguousarray(array) for name, array in given.items()}
        rows = len(feed[self.inputs[0]])
        if not self._one_by_one or rows <= 1:
            return self._run(feed)
        each = [self._run({name: array[row : row + 1] for name, array in feed.items()}) for row in range(rows)]
        return {name: np.concatenate([found[name] for found in each]) for name in self.outputs}

    def _run(self, feed: Arrays) -> dict[str, Array]:
        try:
            self._request.infer(feed, share_inputs=True)
        except RuntimeError as error:
            raise cannot_run(self._name, error) from error
        found = {name: self._request.get_output_tensor(place).data.copy() for place, name in enumerate(self.outputs)}
        return Outputs(self._name, found)


def _fit_to_chip(path: Path, engine: Engine) -> tuple[Any, bool]:
    """The graph as this chip runs it fastest, and whether it takes rows one by one.

    Without VNNI int8 products become convolutions, and a graph that leaves only the number of rows open takes one row:
    of known shapes OpenVINO drops the transpositions around convolutions (CLIP ViT-B/32: 36 ms an image, against 44
    with the rows open and 71 with products as they were; eight images take eight times as long either way). In exact
    mode activations are not rounded by ranges of their own.
    """
    from penjing.runtimes.engine import multiplies_int8

    if multiplies_int8() and not engine.exact:
        return path, False
    model = read_graph(path)
    unrounded = unround_openvino(model) if engine.exact else 0
    if multiplies_int8():
        return (model if unrounded else path), False
    shapes = {_name_of(port): port.get_partial_shape() for port in model.inputs}
    if not products_as_convolutions(model):
        return (model if unrounded else path), False
    every = [*shapes.values(), *(port.get_partial_shape() for port in model.outputs)]
    only_rows = all(len(shape) and shape[0].is_dynamic for shape in every) and all(
        axis.is_static for shape in shapes.values() for axis in list(shape)[1:]
    )
    if only_rows:
        model.reshape({name: [1, *list(shape)[1:]] for name, shape in shapes.items()})
    return model, only_rows


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
    reason = next((line.strip() for line in reversed(str(error).splitlines()) if line.strip()), "unknown reason")[:300]
    return EngineError(
        f"OpenVINO cannot open {path.name}: {reason}", hint="try --engine onnxruntime; is the artifact whole?"
    )
