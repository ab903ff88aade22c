"""Four steps of distillation of a damaged tiny model; run by `torchrun`, in as many processes as that starts.

teach_two.py FOLDER CHECKPOINT; each works in a folder of its own in there.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import torch


def damaged(checkpoint: str) -> Any:
    """The model with noise on every matrix."""
    from penjing.models.open import open_model

    model = open_model(checkpoint)
    source = torch.Generator().manual_seed(0)
    for parameter in model.net.parameters():
        if parameter.dim() > 1:
            parameter.data.add_(0.3 * parameter.std() * torch.randn(parameter.shape, generator=source))
    return model


def learn(folder: Path, checkpoint: str) -> None:
    """Heal it; the log is in `folder`."""
    from penjing.methods import Aids, make

    model = damaged(checkpoint)
    probes = [model.family.probe(model.net, seed) for seed in range(8)]
    method = make("distill", {"steps": 4, "batch": 4, "check_every": 2, "relational": 1.0})
    assert list(method.apply_all(model.towers, probes, Aids(model, probes[:2], 0, folder)))


if __name__ == "__main__":
    torch.set_num_threads(1)
    assert int(os.environ["WORLD_SIZE"]) == 2
    learn(Path(sys.argv[1]) / os.environ["RANK"], sys.argv[2])
