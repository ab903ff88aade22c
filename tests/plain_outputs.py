"""Run as a program: open checkpoints with plain transformers, in a process without penjing, and keep what they answer.

python plain_outputs.py FOLDER: every checkpoint FOLDER/* with inputs.safetensors gets outputs.safetensors beside it
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import load_file, save_file


def tensors_of(output: Any) -> Iterator[torch.Tensor]:
    """Every float tensor of an output, in order, however deep it lies."""
    if isinstance(output, torch.Tensor) and output.is_floating_point():
        yield output
    elif isinstance(output, (list, tuple)):
        for part in output:
            yield from tensors_of(part)
    elif hasattr(output, "to_tuple"):
        yield from tensors_of(output.to_tuple())


@torch.no_grad()
def answer(net: torch.nn.Module, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """Everything a network answers, as one vector; without a cache, which is no answer."""
    torch.set_num_threads(1)
    net.config.use_cache = False
    return torch.cat([part.flatten() for part in tensors_of(net(**inputs))])


def open_plainly(place: Path) -> torch.nn.Module:
    """Open a checkpoint as anybody would; every weight must be in the file, and nothing else."""
    name = json.loads((place / "config.json").read_text())["architectures"][0]
    kind = transformers.AutoModelForCausalLM if name.endswith("CausalLM") else getattr(transformers, name)
    net, told = kind.from_pretrained(place, output_loading_info=True)
    assert not any(told.values()), told
    return net.eval()


if __name__ == "__main__":
    for place in sorted(Path(sys.argv[1]).iterdir()):
        outputs = answer(open_plainly(place), load_file(place / "inputs.safetensors"))
        save_file({"outputs": outputs}, place / "outputs.safetensors")
    assert "penjing" not in sys.modules
