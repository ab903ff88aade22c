"""What a model and its towers answer to synthetic inputs: the same-output check of everything that has no data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from penjing.models.capture import call
from penjing.models.family import Model
from penjing.models.tower import Batch
from penjing.values import FloatArray

LOGITS = "logits"


def float_tensors(output: Any) -> Iterator[Tensor]:
    """Yield the float tensors of an output, whatever it holds them in."""
    if isinstance(output, Tensor):
        if output.is_floating_point():
            yield output
    elif hasattr(output, "to_tuple"):
        yield from float_tensors(output.to_tuple())
    elif isinstance(output, (tuple, list)):
        for part in output:
            yield from float_tensors(part)


def flat_output(output: Any) -> Tensor:
    """All float tensors of an output, of whatever shape it has, as one vector."""
    return torch.cat([torch.zeros(0), *(part.detach().float().flatten() for part in float_tensors(output))])


def tower_outputs(model: Model, probe: Batch) -> list[FloatArray]:
    """Outputs of the towers that have blocks, or of the whole model where none has; each (n,) float32."""
    return [values for name, values in outputs_by_tower(model, probe).items() if name != LOGITS]


@torch.no_grad()
def outputs_by_tower(model: Model, probe: Batch) -> dict[str, FloatArray]:
    """Tower -> its output (n,) float32, of towers that have blocks; `model` -> the whole one's where none has.

    Heads have no blocks and stand behind all towers that have: `logits` are what the whole model gives by that name.
    `probe` is the family's, made once from the float network: a compressed one may ask for other inputs.
    """
    outputs = {tower.name: flat_output(tower.run(probe)).numpy() for tower in model.towers if tower.blocks}
    if outputs and not any(tower.role == "head" for tower in model.towers):
        return outputs
    answer = call(model.net, probe)
    if not outputs:
        return {"model": flat_output(answer).numpy()}
    logits = getattr(answer, LOGITS, None)
    return outputs if logits is None else {**outputs, LOGITS: flat_output(logits).numpy()}
