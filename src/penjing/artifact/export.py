"""Lower a component to ONNX: torch's own exporter, exact codes from our layers, no trace of the machine it ran on."""

from __future__ import annotations

import contextlib
import inspect
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import nn

from penjing.artifact.attention import SpelledAttention
from penjing.artifact.merging import merge_products
from penjing.layers.half import half_tensors
from penjing.models.family import Component

OPSET = 21
AXES = {"batch": "batch_size"}
"""Axes under the names that transformers.js looks for: by `batch_size` it sizes the empty cache of a decoder."""


def export_component(component: Component, folder: Path) -> Path:
    """Write `folder/<name>.onnx` and return its path. One file, no external data below 2 GB."""
    names = list(component.inputs)
    by_name = _skips_parameters(component)
    with _quiet(), torch.no_grad(), SpelledAttention():
        program = torch.onnx.export(
            component.module.eval(),
            () if by_name else _arguments(component),
            kwargs=dict(component.inputs) if by_name else None,
            input_names=names,
            output_names=list(component.outputs),
            dynamic_shapes=_dynamic_shapes(component, by_name),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    graph: onnx.ModelProto = program.model_proto
    merge_products(graph.graph)
    _store_halves(graph, component.module)
    _forget_origin(graph)
    path = folder / f"{component.name}.onnx"
    onnx.save(graph, str(path))
    return path


def _arguments(component: Component) -> tuple[Any, ...]:
    """The example inputs as the module's forward takes them: the tail of several goes into one list."""
    parameters = _forward_names(component)
    tensors = list(component.inputs.values())
    if len(parameters) == len(tensors) or _is_variadic(component):
        return tuple(tensors)
    fixed = len(parameters) - 1
    return (*tensors[:fixed], tensors[fixed:])


def _forward_names(component: Component) -> list[str]:
    """Arguments that the module is given: what has a default and no example is left at it, `**kwargs` stays empty."""
    given = inspect.signature(component.module.forward).parameters.items()
    return [
        name
        for name, parameter in given
        if parameter.kind is not parameter.VAR_KEYWORD
        and (parameter.default is parameter.empty or name in component.inputs)
    ]


def _is_variadic(component: Component) -> bool:
    """Whether the forward takes nothing but `*tensors`."""
    parameters = inspect.signature(component.module.forward).parameters.values()
    return [parameter.kind for parameter in parameters] == [inspect.Parameter.VAR_POSITIONAL]


def _skips_parameters(component: Component) -> bool:
    """Whether the example inputs are parameters of the forward that do not come first, so have to be given by name."""
    parameters = inspect.signature(component.module.forward).parameters
    names = list(component.inputs)
    if not all(name in parameters for name in names):
        return False
    keyword_only = any(parameters[name].kind is parameters[name].KEYWORD_ONLY for name in names)
    return keyword_only or names != list(parameters)[: len(names)]


def _dynamic_shapes(component: Component, by_name: bool) -> tuple[Any, ...] | dict[str, Any]:
    """One torch.export.Dim per axis name, shared by the inputs that name it; `2*frames` means an even number.

    A sum (`past+tokens`) is found by the exporter itself.
    """
    dims: dict[str, Any] = {}

    def dim(name: str) -> Any:
        if "+" in name:
            return torch.export.Dim.AUTO
        factor, _, base = name.rpartition("*")
        if base not in dims:
            dims[base] = torch.export.Dim(AXES.get(base, base), min=0 if base == "past" else 1)
        return int(factor) * dims[base] if factor else dims[base]

    shapes = [
        {axis: dim(axis_name) for axis, axis_name in component.dynamic.get(name, {}).items()}
        for name in component.inputs
    ]
    if by_name:
        return dict(zip(component.inputs, shapes, strict=True))
    if _is_variadic(component):
        return (tuple(shapes),)
    parameters = _forward_names(component)
    if len(parameters) == len(shapes):
        return tuple(shapes)
    fixed = len(parameters) - 1
    return (*shapes[:fixed], shapes[fixed:])


def _store_halves(graph: onnx.ModelProto, module: nn.Module) -> None:
    """Store tables marked as float16 in two bytes and widen them where they are read."""
    halves = half_tensors(module)
    for initializer in list(graph.graph.initializer):
        if initializer.name not in halves or initializer.data_type != onnx.TensorProto.FLOAT:
            continue
        values = onnx.numpy_helper.to_array(initializer)
        name = initializer.name
        stored = onnx.numpy_helper.from_array(values.astype("float16"), name + ".float16")
        graph.graph.initializer.remove(initializer)
        graph.graph.initializer.append(stored)
        widen = onnx.helper.make_node("Cast", [stored.name], [name], name=name + ".widen", to=onnx.TensorProto.FLOAT)
        graph.graph.node.insert(0, widen)


def _forget_origin(graph: onnx.ModelProto) -> None:
    """Drop metadata that holds source paths and torch names: it differs between machines and tells too much."""
    graph.doc_string = ""
    del graph.metadata_props[:]
    for part in (graph.graph, *graph.functions):
        del part.metadata_props[:]
        for node in part.node:
            del node.metadata_props[:]
            node.doc_string = ""
        for value in part.value_info:
            del value.metadata_props[:]
    for values in (graph.graph.input, graph.graph.output, graph.graph.initializer):
        for value in values:
            del value.metadata_props[:]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's chatter off the terminal; its errors come as exceptions."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            logger.setLevel(level)
