"""What a model and its towers answer to synthetic inputs: the same-output check of everything that has no data."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from penjing.models.capture import call
from penjing.models.family import Model
from penjing.models.tower import Batch
from penjing.values import FloatArray


def flat_output(output: Any) -> Tensor:
    """All float tensors of an output, of whatever shape it has, as one vector."""
    if isinstance(output, Tensor):
        return output.detach().float().flatten() if output.is_floating_point() else torch.zeros(0)
    if hasattr(output, "to_tuple"):
        output = output.to_tuple()
    if isinstance(output, (tuple, list)):
        parts = [flat_output(part) for part in output]
        return torch.cat(parts) if parts else torch.zeros(0)
    return torch.zeros(0)


@torch.no_grad()
def tower_outputs(model: Model, probe: Batch) -> list[FloatArray]:
    """Outputs of the towers that have blocks, or of the whole model where none has; each (n,) float32.

    `probe` is the family's, made once from the float network: a compressed one may ask for other inputs.
    """
    towers = [tower for tower in model.towers if tower.blocks]
    if not towers:
        return [flat_output(call(model.net, probe)).numpy()]
    return [flat_output(tower.run(probe)).numpy() for tower in towers]
