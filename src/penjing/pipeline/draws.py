"""Seeded inputs that source and result are compared on where no data judges, and what their graphs take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from penjing.models.family import Component, Model
from penjing.models.plausible import log_mel, picture
from penjing.models.sizes import nested, seek
from penjing.values import Array, Arrays

DRAWS = 4
"""Differently seeded inputs that every component is compared on."""
SHORTENED = 0.2
"""By which share of its length each further draw is shorter, where lengths may vary."""
FUSED = ((True, True, True), (True, False, False), (True, False, True), (False, False, True))
"""Which of picture, text and sound are fused in a draw: everything, a caption, a spoken question, a transcript."""
IMAGE_MASK = "image_mask"
"""Beside a draw's inputs: where in `input_ids` the features of a picture belong (tokens,)."""
PICTURE_AXES, LOG_MEL_AXES = 4, 3


@dataclass(frozen=True, slots=True)
class GraphInput:
    """Shape of a graph's input, None where an axis varies, and the type of its numbers."""

    shape: tuple[int | None, ...]
    dtype: np.dtype[Any]

    def accepts(self, array: Array) -> bool:
        """Whether the graph can be fed this array."""
        if array.ndim != len(self.shape) or array.dtype != self.dtype:
            return False
        return all(size in (None, length) for size, length in zip(self.shape, array.shape, strict=True))


@dataclass(frozen=True, slots=True)
class Draws:
    """Seeded inputs of a model, and what its graphs take.

    `inputs` are, per draw, what `Family.probe` gives; `graphs` are component -> input -> shape and type; `vocabulary`
    are the numbers of tokens that its configurations name.
    """

    seed: int
    inputs: Sequence[Arrays]
    graphs: Mapping[str, Mapping[str, GraphInput]]
    vocabulary: tuple[int, ...]


def draw_inputs(model: Model, components: Sequence[Component], seed: int, source: Draws | None = None) -> Draws:
    """Draw inputs for a model as it is now; the same seed gives the same inputs.

    Args:
        model: Its family's `probe` gives tokens, masks and shapes; pictures and log-mel features are made plausible.
        components: The model's graphs.
        seed: Of the recipe.
        source: The inputs of the source. A result whose graphs take the same gets these.
    """
    graphs = {component.name: _graph_inputs(component) for component in components}
    sizes = (getattr(part, "vocab_size", None) for part in nested(model.net.config))
    vocabulary = tuple(size for size in sizes if isinstance(size, int))
    if source is not None and (source.graphs, source.vocabulary) == (graphs, vocabulary):
        return source
    factors = _length_factors(components)
    inputs = [_draw(model, seed, number, factors) for number in range(DRAWS)]
    return Draws(seed, inputs, graphs, vocabulary)


def _graph_inputs(component: Component) -> dict[str, GraphInput]:
    """What a component takes."""
    inputs = {}
    for name, tensor in component.inputs.items():
        dynamic = component.dynamic.get(name, {})
        shape = tuple(None if axis in dynamic else size for axis, size in enumerate(tensor.shape))
        inputs[name] = GraphInput(shape, tensor[:0].numpy().dtype)
    return inputs


def _length_factors(components: Sequence[Component]) -> dict[str, int]:
    """Tokens and features whose number varies -> what it is a multiple of: 8 for an axis `8*frames`."""
    factors = {}
    for component in components:
        for name in {"input_ids", "input_features"} & component.inputs.keys():
            axis = component.dynamic.get(name, {}).get(component.inputs[name].ndim - 1)
            if axis is not None:
                factors[name] = int(axis.rpartition("*")[0] or 1)
    return factors


def _draw(model: Model, seed: int, number: int, factors: Mapping[str, int]) -> dict[str, Array]:
    """One draw: what the family's probe gives, made plausible; every further draw is shorter."""
    seed = seed * DRAWS + number
    rng = torch.Generator().manual_seed(seed)
    batch = {name: _plausible(name, tensor, rng) for name, tensor in model.family.probe(model.net, seed).items()}
    image_token = seek(model.net.config, "image_token_id", "image_token_index")
    is_image = torch.zeros(0, dtype=torch.bool)
    if "pixel_values" in batch and "input_ids" in batch and isinstance(image_token, int):
        is_image = batch["input_ids"][0] == image_token
    lengths = {**factors, "decoder_input_ids": 1}
    if is_image.any():  # as many tokens as the picture has features
        del lengths["input_ids"]
    for name in lengths.keys() & batch.keys():
        batch[name] = _shortened(name, batch[name], 1 - SHORTENED * number, lengths[name])
    if "fused" in batch:
        batch["fused"] = torch.tensor(FUSED[number % len(FUSED)])
    if "is_longer" in batch:
        batch["is_longer"] = torch.full_like(batch["is_longer"], number % 2 == 0)
    if is_image.any():
        batch[IMAGE_MASK] = is_image
    return {name: tensor.numpy() for name, tensor in batch.items()}


def _plausible(name: str, values: Tensor, rng: torch.Generator) -> Tensor:
    """A picture or log-mel features in the shape of a probe's noise; everything else as it is."""
    if name == "pixel_values" and values.ndim >= PICTURE_AXES:  # (..., channels, height, width)
        return picture(tuple(values.shape), rng)
    if name == "input_features" and values.ndim == LOG_MEL_AXES:  # (batch, bands, frames)
        return log_mel(values.shape[1], values.shape[2], rng)
    return values


def _shortened(name: str, values: Tensor, share: float, factor: int) -> Tensor:
    """The first frames, the first tokens of a decoder, the last ones of a text: its end token is there."""
    count = values.shape[-1]
    length = min(count, max(2 * factor, round(count * share) // factor * factor))
    return values[..., count - length :] if name == "input_ids" else values[..., :length]
