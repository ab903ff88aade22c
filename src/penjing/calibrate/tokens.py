"""What rows of tokens the blocks of a tower work on: learned from a run, no model is known by name."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from penjing.calibrate.wiring import enter
from penjing.layers.merging import MASK_DIMENSIONS, hides_nothing
from penjing.layers.overheard import Overheard
from penjing.models.tower import Batch, Tower

ROW_DIMENSIONS = 3
MEDIA = ("image", "audio")
PICTURE = 0
"""The kind that `origins` gives to tokens of a picture."""


class Row(NamedTuple):
    """The tokens that a tower's first block is given, and how many in front of them are none of the input's own."""

    tokens: int
    protected: int


@torch.no_grad()
def token_row(tower: Tower, batch: Batch) -> Row | str:
    """The row of tokens that all blocks of a tower work on, or why there is none whose tokens could merge."""
    if not tower.blocks:
        return "it has no blocks that work on tokens"
    if tower.modality not in MEDIA:
        return "only tokens of pictures and sounds are merged; those of a text are words"
    places = _convolved(tower, batch)
    call = enter(tower, batch, 1)[0]
    hidden = call.args[0] if call.args else None
    if not isinstance(hidden, Tensor) or hidden.dim() != ROW_DIMENSIONS:
        return "its blocks see no row of tokens"
    with Overheard() as attention:
        given = call.on(tower.blocks[0])
    output = given[0] if isinstance(given, tuple) else given
    batches, tokens, _ = hidden.shape
    keys = attention.keys
    if output.shape != hidden.shape or keys is None or (keys.shape[0], keys.shape[2]) != (batches, tokens):
        return "its attention does not look at all tokens at once"
    if any(_about_tokens(value, tokens) for key, value in call.items() if key != 0):
        return "its blocks are given a mask or positions beside the tokens"
    return Row(tokens, max(0, tokens - places) if places else 0)


@torch.no_grad()
def tokens_read(tower: Tower, towers: Sequence[Tower], batch: Batch) -> int | str:
    """How many tokens a decoder reads of a picture, or of a tile of it, if a tower gives them; else why there are none.

    They are as many as the places that the decoder says are a picture's (`origins`).
    """
    reader = next((one for one in towers if one.role == "decoder" and one.origins), None)
    if tower.role != "connector" or reader is None or reader.origins is None:
        return "no decoder reads what it gives as the tokens of a picture"
    given = tower.run(batch)
    if not isinstance(given, Tensor) or given.dim() != ROW_DIMENSIONS:
        return "it gives no row of tokens"
    pictures, tokens, _ = given.shape
    places = int((reader.origins(batch) == PICTURE).sum())
    if pictures * tokens != places:
        return f"it gives {pictures * tokens} tokens, and {reader.name} has {places} places for a picture"
    return tokens


def _about_tokens(value: Any, tokens: int) -> bool:
    """Whether an argument says something of each token, other than that all may be looked at."""
    if isinstance(value, Tensor) and value.dim() == MASK_DIMENSIONS and hides_nothing(value):
        return False
    if isinstance(value, tuple):
        return any(_about_tokens(part, tokens) for part in value)
    return isinstance(value, Tensor) and tokens in value.shape


def _convolved(tower: Tower, batch: Batch) -> int:
    """Places that the last convolution before the blocks gives: whatever tokens there are besides are not of the input.

    A class token, one for distillation and registers stand in front of the patches.
    """
    found = [0]

    def count(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
        found.append(output[0, 0].numel())

    with contextlib.ExitStack() as hooks:
        for module in tower.module.modules():
            if isinstance(module, (nn.Conv1d, nn.Conv2d)) or type(module).__name__ in ("StaticConv", "IntConv"):
                hooks.callback(module.register_forward_hook(count).remove)
        enter(tower, batch, 1)
    return found[-1]


def names_of(net: nn.Module, modules: tuple[nn.Module, ...]) -> Mapping[nn.Module, str]:
    """The name in the network of each of these modules."""
    wanted = {id(module) for module in modules}
    return {module: name for name, module in net.named_modules() if id(module) in wanted}
