"""Run as a program: open compressed checkpoints in a fresh process and keep what they answer.

python fresh_outputs.py FOLDER: every FOLDER/NAME/{source,artifact} leaves FOLDER/NAME/fresh.npz
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from penjing.artifact.checkpoint import load_network
from penjing.models.capture import call
from penjing.models.family import Model
from penjing.models.open import open_model
from penjing.models.outputs import flat_output, tower_outputs
from penjing.models.tower import Batch


@torch.no_grad()
def answers(model: Model, net: Any, probe: Batch) -> dict[str, np.ndarray]:
    """What the towers and the whole network answer to a probe; `net` is the network run whole."""
    found = {f"tower-{place}": output for place, output in enumerate(tower_outputs(model, probe))}
    with contextlib.suppress(ValueError):  # Whisper whole hears 30 s and nothing else; its towers take the probe
        found["whole"] = flat_output(call(net, probe)).numpy()
    return found


def main(folder: Path) -> None:
    """Open every artifact twice: over its source, as a resumed run does, and by itself."""
    torch.set_num_threads(1)
    for place in sorted(folder.iterdir()):
        checkpoint = place / "artifact" / "checkpoint"
        model = open_model(str(place / "source"))
        probe = model.family.probe(model.net, 0)
        load_network(checkpoint, model.net)
        np.savez(place / "fresh.npz", **answers(model, load_network(checkpoint), probe))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
