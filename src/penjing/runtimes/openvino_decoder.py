"""A decoder graph in OpenVINO with its cache inside the engine: the past never travels through Python."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from penjing.runtimes.decoding import Fed, is_own_past, token_inputs
from penjing.runtimes.engine import cannot_run, feed_of
from penjing.runtimes.openvino import compile_graph, read_graph
from penjing.runtimes.openvino_attention import keep_cache
from penjing.runtimes.unrounded import unround_openvino
from penjing.values import Arrays, FloatArray

if TYPE_CHECKING:
    from penjing.runtimes.engine import Engine


class StatefulDecoder:
    """Turns `past_key_values.*.decoder.*` and `present.*` of an ONNX decoder into variables of the engine."""

    def __init__(self, path: Path, engine: Engine) -> None:
        import openvino

        self._name = path.name
        model = read_graph(path)
        if engine.exact:
            unround_openvino(model)
        names = [port.get_any_name() for port in model.inputs]
        self._heard_names = [name for name in names if ".encoder." in name]
        self._token_names = [name for name in names if not name.startswith("past_key_values.")]
        # One clip at a time: a batch axis left open would start the variables with no rows at all.
        model.reshape(
            {port.get_any_name(): openvino.PartialShape([1, *list(port.partial_shape)[1:]]) for port in model.inputs}
        )
        model = keep_cache(model, [name for name in names if is_own_past(name)])
        self._tensor = openvino.Tensor
        self._compiled: Any = compile_graph(model, path, engine)
        self._attach()

    def _attach(self) -> None:
        """Make the request that holds this decoder's cache."""
        self._request: Any = self._compiled.create_infer_request()
        self._logits = self._request.model_outputs[0]
        self._length = 0

    def fork(self) -> StatefulDecoder:
        """Another one of the same compiled graph."""
        twin = copy.copy(self)
        twin._attach()
        return twin

    def start(self, heard: Arrays) -> None:
        """Listen to these keys and values, shared with the engine, not copied."""
        # Kept, because the engine reads this very memory at every step.
        self._heard = {
            name: np.ascontiguousarray(heard[name.replace("past_key_values.", "present.")])
            for name in self._heard_names
        }
        for name, array in self._heard.items():
            self._request.set_tensor(name, self._tensor(array, shared_memory=True))
        self.rewind()

    def rewind(self) -> None:
        """Empty the variables."""
        self._length = 0
        self._request.reset_state()

    def step(self, tokens: Fed) -> FloatArray:
        """Run the graph; its variables grow by themselves."""
        logits: FloatArray = self.read(tokens)[-1]
        return logits

    def read(self, tokens: Fed) -> FloatArray:
        """The same, with the logits after every token; they are the engine's own memory until the next run."""
        inputs = feed_of(self._name, self._token_names, token_inputs(tokens, self._length))
        try:
            for name, array in inputs.items():
                self._request.set_tensor(name, self._tensor(array))
            self._request.infer()
        except RuntimeError as error:
            raise cannot_run(self._name, error) from error
        self._length += len(tokens)
        logits: FloatArray = self._request.get_tensor(self._logits).data[0]
        return logits
