"""Outputs of source and result on the same seeded inputs: what the gate looks at where no data judges.

Components run in their order, each on what it would really be fed: the source's encoder feeds the source's decoder,
whose past comes from having read the tokens before. The result is fed the very same arrays. Only where their shape or
meaning changed (a narrower network, another vocabulary, fewer layers) is it fed what its own components gave.

Components are wired by the names that graphs have everywhere here: `present.X` goes into `past_key_values.X`, any other
output into the input of the same name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from penjing.evaluate.interval import ItemScores
from penjing.judge.quality import compare_outputs
from penjing.layers.weight_only import floats_of_one_layer
from penjing.models.family import Model
from penjing.models.outputs import outputs_by_tower
from penjing.models.tower import Batch
from penjing.pipeline.draws import DRAWS, IMAGE_MASK, Draws, GraphInput
from penjing.runtimes.decoding import is_own_past
from penjing.runtimes.engine import Graph
from penjing.values import Array, Arrays, FloatArray

PAST, PRESENT = "past_key_values.", "present."
OUTPUT = "output"
FUSED_TOKENS = ("image_tokens", "text_tokens", "audio_tokens")
"""What a fusion joins to `tokens`, in this order."""


@dataclass(frozen=True, slots=True)
class _Side:
    """A component of the source or of the result: its graph, what it takes, and all arrays known so far by name."""

    graph: Graph
    takes: Mapping[str, GraphInput]
    values: dict[str, Array]
    vocabulary: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Probed:
    """Probes of a model and, per probe, what each tower answered: tower -> output."""

    probes: Sequence[Batch]
    outputs: Sequence[Mapping[str, FloatArray]]


def probe_towers(model: Model, seed: int) -> Probed:
    """What the towers of a source answer to seeded probes, in PyTorch: for models without graphs to compare."""
    probes = [model.family.probe(model.net, seed * DRAWS + number) for number in range(DRAWS)]
    return Probed(probes, [outputs_by_tower(model, probe) for probe in probes])


def compare_towers(source: Probed, result: Model) -> dict[str, ItemScores]:
    """Compare what the towers of the result answer to the source's probes, tower by tower."""
    with floats_of_one_layer(result.net):
        answers = [outputs_by_tower(result, probe) for probe in source.probes]
    return compare_outputs([
        {tower: [({OUTPUT: before[tower]}, {OUTPUT: after[tower]})] for tower in before}
        for before, after in zip(source.outputs, answers, strict=True)
    ])  # fmt: skip


def compare_components(
    graphs: Mapping[str, tuple[Graph, Graph]], source: Draws, result: Draws
) -> dict[str, ItemScores]:
    """Compare the graphs of source and result on every draw; scores as of `judge.quality.compare_outputs`.

    Args:
        graphs: component -> its graph in the source and in the result, in the order in which they feed one another.
        source: Inputs of the source.
        result: Inputs of the result, for where it cannot be fed the source's.
    """
    outputs = []
    for source_inputs, result_inputs in zip(source.inputs, result.inputs, strict=True):
        values = dict(source_inputs), dict(result_inputs)
        by_component = {}
        for component, pair in graphs.items():
            before, after = (
                _Side(graph, draws.graphs[component], known, draws.vocabulary)
                for graph, draws, known in zip(pair, (source, result), values, strict=True)
            )
            by_component[component] = [*_run_both(before, after)]
        outputs.append(by_component)
    return compare_outputs(outputs)


def _run_both(source: _Side, result: _Side) -> Iterator[tuple[Arrays, Arrays]]:
    """Run a component on both sides, on the source's inputs, and remember what it gave for those that follow."""
    same_layers = source.takes.keys() == result.takes.keys()
    for first, last in _spans(source):
        inputs = {name: _input(source, name, first, last) for name in source.takes}
        own = {
            name: inputs[name] if _is_shared(name, inputs, source, result) else _input(result, name, first, last)
            for name in result.takes
        }
        before, after = source.graph(inputs), result.graph(own)
        for side, outputs in ((source, before), (result, after)):
            side.values.update({name.replace(PRESENT, PAST): array for name, array in outputs.items()})
        if not same_layers and "logits" in before:  # keys and values are those of other layers
            before, after = {"logits": before["logits"]}, {"logits": after["logits"]}
        yield _without_past(before, first), _without_past(after, first)


def _is_shared(name: str, inputs: Arrays, source: _Side, result: _Side) -> bool:
    """Whether the result can be fed the source's array, and it means the same to it."""
    if name not in inputs or not result.takes[name].accepts(inputs[name]):
        return False
    if name == "input_ids":
        return source.vocabulary == result.vocabulary
    return not name.startswith(PAST) or source.takes.keys() == result.takes.keys()


def _has_cache(side: _Side) -> bool:
    return any(is_own_past(name) for name in side.takes)


def _spans(side: _Side) -> list[tuple[int, int]]:
    """From where to where tokens are read at once: with a cache first one half, then the other on top of it."""
    if not _has_cache(side):
        return [(0, 0)]
    count = _tokens(side).shape[1]
    half = (count + 1) // 2
    return [(0, half), (half, count)] if half < count else [(0, count)]


def _tokens(side: _Side) -> Array:
    """All that a decoder with a cache reads: token ids (1, tokens) or embeddings (1, tokens, width)."""
    values = side.values
    if "inputs_embeds" not in side.takes:
        return values["decoder_input_ids" if "decoder_input_ids" in values else "input_ids"]
    embeds = values["inputs_embeds"].copy()
    if IMAGE_MASK in values:
        embeds[:, values[IMAGE_MASK]] = values["image_features"].reshape(1, -1, embeds.shape[2])
    return embeds


def _input(side: _Side, name: str, first: int, last: int) -> Array:
    """What a graph is fed under a name, of tokens `first` to `last` where it has a cache."""
    values, shape, cached = side.values, side.takes[name].shape, _has_cache(side)
    array: Array
    if is_own_past(name) and first == 0:
        batch, heads, _, width = shape
        array = np.zeros((batch or 1, heads or 1, 0, width or 1))
    elif cached and name in ("input_ids", "inputs_embeds"):
        array = _tokens(side)[:, first:last]
    elif cached and name == "attention_mask":
        array = np.ones((1, last))
    elif name == "position_ids":
        array = np.arange(first, last)[None]
    elif name == "attention_mask":
        array = np.ones_like(values["input_ids"])
    elif name == "token_type_ids":  # two segments
        count = values["input_ids"].shape[1]
        array = np.arange(count)[None] * 2 // count
    elif name == "tokens":
        fused = zip(FUSED_TOKENS, values["fused"], strict=True)
        array = np.concatenate([values[tokens] for tokens, is_fused in fused if is_fused], 1)
    else:
        array = values[name]
    return _fitted(array.astype(side.takes[name].dtype), shape)


def _fitted(array: Array, shape: Sequence[int | None]) -> Array:
    """Cut an array to the axes that a graph fixes, or lengthen it by its last value, as text is padded."""
    for axis, size in enumerate(shape):
        if size is not None and array.shape[axis] != size:
            array = np.take(array, np.minimum(np.arange(size), array.shape[axis] - 1), axis)
    return array


def _without_past(outputs: Arrays, count: int) -> Arrays:
    """Outputs without the first `count` keys and values of the cache: both were fed these."""
    return {
        name: array[:, :, count:] if name.startswith(PRESENT) and ".encoder." not in name else array
        for name, array in outputs.items()
    }
