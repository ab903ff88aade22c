"""Run as a program: rebuild compressed networks in a fresh process and keep what they answer.

python reloaded_networks.py FOLDER: every checkpoint FOLDER/* with inputs.safetensors gets outputs.safetensors beside it
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from penjing.artifact.checkpoint import load_network
from penjing.models.capture import call
from penjing.models.outputs import flat_output

Case = tuple[str, str]
"""A method and a model."""


@torch.no_grad()
def answer(net: torch.nn.Module, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """Everything a network answers, as one vector."""
    torch.set_num_threads(1)
    return flat_output(call(net, inputs))


def answers(folders: Mapping[Case, Path]) -> dict[Case, torch.Tensor]:
    """What the networks of these folders, all in one, answer in a fresh process."""
    (root,) = {folder.parent for folder in folders.values()}
    subprocess.run([sys.executable, __file__, str(root)], check=True, capture_output=True, timeout=300)
    return {case: load_file(folder / "outputs.safetensors")["outputs"] for case, folder in folders.items()}


if __name__ == "__main__":
    for place in sorted(Path(sys.argv[1]).iterdir()):
        found = answer(load_network(place), load_file(place / "inputs.safetensors"))
        save_file({"outputs": found}, place / "outputs.safetensors")
